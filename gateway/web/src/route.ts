import { playerShown } from "./playback.js";
import { batch, computed, effect, signal } from "@preact/signals";

/** What the page's one panel shows. */
export type Selection = { type: "robot" | "task" | "zone"; id: string } | null;
export type Tab = "tasks" | "robots" | "zones" | "charts" | "hotspots" | "alerts" | "audit" | "letters";
export interface Look {
  x: number;
  y: number;
  scale: number;
}

// The address of the page says what is looked at, so that a colleague who opens the same link sees the same.

/** The tenant, where the one who looks has several; "" = the only one. */
export const tenantId = signal("");
/** The warehouse's code; "" = the first one. */
export const warehouseCode = signal("");
export const selection = signal<Selection>(null);
/** The table under the map; null = closed. */
export const tab = signal<Tab | null>("tasks");
/** Filters of the task table. */
export const taskFilter = signal({ status: "", text: "", late: false });
/** Filters of the robot table, which also dim the map. */
export const robotFilter = signal({ show: "", text: "" });
/** What the map shows beside robots. */
export const layers = signal({ zones: true, heat: false, names: false, lanes: false, flow: false, waits: false, jams: false });
/** The camera; null = the whole floor. */
export const look = signal<Look | null>(null);

/** Settings for who measures and tests: `diagnostics`, `renderer=canvas|webgl`. They stay in the address as they came. */
export const settings = signal<readonly [string, string][]>([]);

/** The camera that an address asks for, told once for each address that was read: the map goes there. */
export const wanted = signal<Look | null>(null);

/** Forgets what was looked at; settings stay. */
export function forget(): void {
  batch(() => {
    warehouseCode.value = "";
    selection.value = null;
    taskFilter.value = { status: "", text: "", late: false };
    robotFilter.value = { show: "", text: "" };
    look.value = null;
  });
}

const WRITE_MS = 300;
const LAYERS = ["zones", "heat", "names", "lanes", "flow", "waits", "jams"] as const;
const SETTINGS: readonly string[] = ["diagnostics", "renderer"];
const TABS: readonly string[] = ["tasks", "robots", "zones", "charts", "hotspots", "alerts", "audit", "letters"];
const KINDS: readonly string[] = ["robot", "task", "zone"];

/** The query of the address that says all this. */
export const query = computed(() => {
  const q = new URLSearchParams();
  const put = (name: string, value: string): void => {
    if (value !== "") q.set(name, value);
  };
  put("tenant", tenantId.value);
  put("warehouse", warehouseCode.value);
  if (selection.value) put(selection.value.type, selection.value.id);
  if (tab.value !== "tasks") put("tab", tab.value ?? "none");
  put("status", taskFilter.value.status);
  put("task_text", taskFilter.value.text);
  if (taskFilter.value.late) put("late", "1");
  put("show", robotFilter.value.show);
  put("robot_text", robotFilter.value.text);
  const shown = LAYERS.filter((name) => layers.value[name]).join(" ");
  if (shown !== "zones") put("layers", shown === "" ? "none" : shown);
  for (const [name, value] of settings.value) q.set(name, value);
  if (playerShown.value) put("play", "1");
  const at = look.value;
  if (at) put("at", [at.x.toFixed(1), at.y.toFixed(1), at.scale.toPrecision(4)].join(","));
  return q.toString();
});

/** Takes all from a query. What it cannot read it leaves as it would be without. */
export function readQuery(search: string): void {
  const q = new URLSearchParams(search);
  const text = (name: string): string => (q.get(name) ?? "").slice(0, 100);
  batch(() => {
    warehouseCode.value = text("warehouse");
    const kind = KINDS.find((k) => text(k) !== "");
    selection.value = kind === undefined ? null : { type: kind as "robot" | "task" | "zone", id: text(kind) };
    const t = text("tab");
    tab.value = TABS.includes(t) ? (t as Tab) : t === "none" ? null : "tasks";
    taskFilter.value = { status: text("status"), text: text("task_text"), late: text("late") === "1" };
    robotFilter.value = { show: text("show"), text: text("robot_text") };
    const on = q.has("layers") ? text("layers").split(" ") : ["zones"];
    layers.value = { zones: on.includes("zones"), heat: on.includes("heat"), names: on.includes("names"), lanes: on.includes("lanes"), flow: on.includes("flow"), waits: on.includes("waits"), jams: on.includes("jams") };
    look.value = readLook(text("at"));
    wanted.value = look.value;
    tenantId.value = text("tenant");
    playerShown.value = q.has("play");
    settings.value = SETTINGS.filter((name) => q.has(name)).map((name) => [name, text(name)]);
  });
}

function readLook(at: string): Look | null {
  const [x, y, scale, more] = at.split(",").map(Number);
  if (at === "" || more !== undefined || !Number.isFinite(x) || !Number.isFinite(y) || !(scale! > 0 && scale! < 1e4)) return null;
  return { x: x!, y: y!, scale: scale! };
}

/** Keeps the address and the signals the same. A new selection is a step that Back takes back; the rest is not. */
export function followAddress(): () => void {
  readQuery(location.search);
  let last = selection.value, whose = tenantId.value;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const q = query.value;
    const step = selection.value !== last && selection.value?.id !== last?.id;
    // Whoever reloads at once must not look at the tenant of before.
    const other = tenantId.value !== whose;
    last = selection.value;
    whose = tenantId.value;
    clearTimeout(timer);
    const write = (): void => {
      const url = location.pathname + (q === "" ? "" : `?${q}`);
      if (url !== location.pathname + location.search) history[step ? "pushState" : "replaceState"](null, "", url + location.hash);
    };
    // A camera that moves would write ten times a second; browsers refuse that.
    if (step || other) write();
    else timer = setTimeout(write, WRITE_MS);
  });
  const back = (): void => {
    clearTimeout(timer);
    readQuery(location.search);
    last = selection.value;
    whose = tenantId.value;
  };
  addEventListener("popstate", back);
  return () => {
    stop();
    clearTimeout(timer);
    removeEventListener("popstate", back);
  };
}
