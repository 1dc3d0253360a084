import { signal } from "@preact/signals";
import { ApiError, newKey, type NewTask } from "starling-client";
import { api } from "./session.js";
import { faultText, notify } from "./doing.js";
import { selection } from "./route.js";
import type { Watch } from "./watch.js";

export type Errand = "pickup" | "dropoff";

/** A task that is being put together. */
export interface Draft {
  type: NewTask["task_type"];
  pickup: string;
  dropoff: string;
  /** Of a patrol, in order. */
  waypoints: string[];
  priority: number;
  /** Wall clock of the warehouse, 2026-03-29T14:30; "" = none. */
  deadline: string;
  /** Which robot, by its code; "" = whichever the dispatcher finds. */
  robot: string;
  /** What a click on the map fills in. */
  active: Errand | "waypoints";
  /** However often it is sent, one task is made. */
  key: string;
  faults: Record<string, string>;
  sending: boolean;
}

/** The draft; null = none is being made. */
export const draft = signal<Draft | null>(null);

export function begin(robot = ""): void {
  draft.value = {
    type: "transport", pickup: "", dropoff: "", waypoints: [], priority: 0, deadline: "", robot, active: "pickup", key: newKey(), faults: {}, sending: false,
  };
}

/** Changes the draft. What is sent from now on is another task, unless only what is asked for has changed. */
export function change(part: Partial<Draft>): void {
  if (!draft.value) return;
  const same = Object.keys(part).every((name) => name === "active");
  const d = { ...draft.value, ...part, ...(same ? {} : { key: newKey(), faults: {} }) };
  if (d.type === "patrol") d.active = "waypoints";
  else if (d.active === "waypoints" || (d.type !== "transport" && d.active === "pickup")) d.active = d.type === "transport" ? "pickup" : "dropoff";
  draft.value = d;
}

/** Fills in what is being asked for, and goes on to the next. */
export function fill(place: string): void {
  const d = draft.value;
  if (!d) return;
  if (d.active === "waypoints") change({ waypoints: [...d.waypoints, place] });
  else if (d.active === "pickup") change({ pickup: place, active: "dropoff" });
  else change({ dropoff: place });
}

/** What is sent. `deadline` in RFC 3339. */
export function wish(d: Draft, warehouseId: string, deadline: string | null, robotId: string | null): NewTask {
  const payload =
    d.type === "patrol" ? { waypoints: d.waypoints } : d.type === "transport" ? { pickup: d.pickup, dropoff: d.dropoff } : d.dropoff === "" ? {} : { dropoff: d.dropoff };
  return {
    task_type: d.type, warehouse_id: warehouseId, priority: d.priority, payload,
    ...(deadline === null ? {} : { deadline }), ...(robotId === null ? {} : { robot_id: robotId }),
  };
}

/** The robot of a code: one that is followed, else as the server knows it; null where there is none in the warehouse. */
async function robotOf(w: Watch, code: string): Promise<string | null> {
  const t = w.table;
  const row = t?.codes.findIndex((c, i) => c === code && t.live[i] === 1) ?? -1;
  if (row >= 0) return t!.ids[row]!;
  const page = await api.get("/api/v1/robots", { query: { robot_code: code, warehouse_id: w.warehouse.warehouse_id, limit: 1 } });
  return page.items[0]?.robot_id ?? null;
}

/** Creates the task. Faults of the fields go to the fields; the draft stays until it is taken. */
export async function send(w: Watch, deadline: string | null): Promise<void> {
  const d = draft.value;
  if (!d || d.sending) return;
  draft.value = { ...d, sending: true, faults: {} };
  try {
    const code = d.robot.trim();
    const robotId = code === "" ? null : await robotOf(w, code);
    if (code !== "" && robotId === null) {
      if (draft.value) draft.value = { ...draft.value, sending: false, faults: { robot_id: "this warehouse has no robot of that code" } };
      return;
    }
    const task = await api.create("/api/v1/tasks", { body: wish(d, w.warehouse.warehouse_id, deadline, robotId), key: d.key });
    w.tasks.remember(task);
    draft.value = null;
    selection.value = { type: "task", id: task.task_id };
    notify("done", "Task created");
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    const faults: Record<string, string> = {};
    for (const f of e.fields) faults[f.field.replace(/^body\./, "").replace(/^payload\./, "")] = f.problem;
    if (draft.value) draft.value = { ...draft.value, sending: false, faults };
    if (e.fields.length === 0) notify("failed", `Create the task: ${faultText(e)}`, e.requestId);
  }
}
