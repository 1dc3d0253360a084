import { effect, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Task } from "starling-client";
import { api } from "../session.js";
import { draft, fill } from "../draft.js";
import { placeAt, placeOf, type Place } from "../map/floor.js";
import { MapView, type Hit, type Layers, type Mark, type ZoneShape } from "../map/view.js";
import { useWatch } from "../page.js";
import { layers, look, robotFilter, selection, settings, tab, wanted } from "../route.js";
import { theme } from "../theme.js";
import { errands, percent, shows, statusOfRow, waitingWords } from "../words.js";
import { heatText } from "../heat.js";
import { track } from "./history.js";
import { Legend } from "./legend.js";
import { Menu } from "./menu.js";
import { keepTraffic, laneText } from "./traffic.js";
import type { Watch } from "../watch.js";

/** The map; null while there is none. */
export const stage = signal<MapView | null>(null);
const tip = signal<{ x: number; y: number; text: string } | null>(null);

/** Px a metre at which one robot is looked at. */
const NEAR = 14;
/** How far from a vertex a click may be, px. */
const REACH_PX = 16;

/** Leads the camera to a robot, wherever it is. */
export async function showRobot(watch: Watch, id: string): Promise<void> {
  const row = watch.table?.row(id) ?? -1;
  if (row >= 0 && !Number.isNaN(watch.table!.x[row]!)) return lead(watch.table!.x[row]!, watch.table!.y[row]!);
  const r = await api.get("/api/v1/robots/{robot_id}", { path: { robot_id: id } }).catch(() => null);
  if (r?.pose) lead(r.pose.x, r.pose.y);
}

/** Leads the camera to what a task is about: the robot that does it, else where it begins. */
export function showTask(watch: Watch, t: Task): void {
  if (t.robot_id) return void showRobot(watch, t.robot_id);
  const floor = watch.floor.value;
  const first = errands(t)[0];
  const p = floor && first ? placeOf(floor, first.place) : null;
  if (p) lead(p.x, p.y);
}

export function showPlace(p: Place): void {
  if (draft.value) fill(p.name ?? p.vertex);
  lead(p.x, p.y);
}

export function showZone(watch: Watch, id: string): void {
  const ring = watch.zones.value.find((z) => z.zone_id === id)?.polygon.coordinates[0];
  if (!ring || ring.length === 0) return;
  const x = ring.map((p) => p[0] ?? 0), y = ring.map((p) => p[1] ?? 0);
  lead((Math.min(...x) + Math.max(...x)) / 2, (Math.min(...y) + Math.max(...y)) / 2, 0);
}

/** Leads the camera to a spot, map metres. */
export function showSpot(x: number, y: number): void {
  lead(x, y);
}

function lead(x: number, y: number, scale = NEAR): void {
  const map = stage.value;
  map?.flyTo(x, y, Math.max(map.camera.scale, scale));
}

/** A viewport a little larger than what is seen, in steps, so that not each move of the camera asks anew. */
export function padded([x0, y0, x1, y1]: readonly [number, number, number, number]): [number, number, number, number] {
  const step = 2 ** Math.ceil(Math.log2(Math.max(1, (x1 - x0) / 8, (y1 - y0) / 8)));
  const down = (v: number): number => Math.floor(v / step - 1) * step;
  const up = (v: number): number => Math.ceil(v / step + 1) * step;
  return [down(x0), down(y0), up(x1), up(y1)];
}

function shapesOf(watch: Watch): ZoneShape[] {
  const status = watch.zoneStatus.value;
  const heat = layers.value.jams ? watch.heat.value : null;
  return watch.zones.value.map((z) => {
    const s = status.get(z.zone_id), h = heat?.get(z.zone_id);
    return {
      id: z.zone_id, kind: z.kind, name: z.name, ring: (z.polygon.coordinates[0] ?? []).map(([x = 0, y = 0]) => [x, y] as [number, number]),
      capacity: s?.capacity ?? z.capacity, occupancy: s?.occupancy ?? z.occupancy ?? 0, queue: s?.queue_length ?? z.queue_length ?? 0,
      ...(h ? { index: h.congestion_index, level: h.level } : {}),
    };
  });
}

/** The robot that is looked at: the selected one, or the one that does the selected task. */
function robotOf(watch: Watch): string | null {
  const s = selection.value;
  if (s?.type !== "task") return s?.type === "robot" ? s.id : null;
  void watch.tasks.changes.value;
  return watch.tasks.get(s.id)?.robot_id ?? null;
}

function marksOf(watch: Watch): Mark[] {
  const floor = watch.floor.value;
  if (!floor) return [];
  const marks: Mark[] = [];
  const put = (place: string, kind: Mark["kind"], label: string): void => {
    const p = placeOf(floor, place);
    if (p) marks.push({ x: p.x, y: p.y, label, kind });
  };
  const d = draft.value;
  if (d) {
    if (d.type === "transport") put(d.pickup, "pickup", "pick up");
    d.waypoints.forEach((w, i) => d.type === "patrol" && put(w, "waypoint", String(i + 1)));
    if (d.type !== "patrol") put(d.dropoff, "dropoff", d.type === "transport" ? "drop off" : "goal");
    return marks;
  }
  const chosen = selection.value;
  void watch.tasks.changes.value;
  const taskId = chosen?.type === "task" ? chosen.id : watch.detail.value?.task_id;
  const task = taskId ? watch.tasks.get(taskId) : undefined;
  if (task) for (const e of errands(task)) put(e.place, e.kind, e.kind === "pickup" ? "pick up" : e.kind === "dropoff" ? "drop off" : "");
  return marks;
}

function matching(watch: Watch, reused: { rows: Uint8Array }): Uint8Array | null {
  const { show, text } = robotFilter.value;
  const t = watch.table;
  void watch.robotTick.value;
  if (tab.value !== "robots" || !t || (show === "" && text === "")) return null;
  if (reused.rows.length < t.size) reused.rows = new Uint8Array(2 * t.size);
  const wanted = text.toLowerCase();
  for (let row = 0; row < t.size; row++) reused.rows[row] = shows(show, t, row) && t.codes[row]!.toLowerCase().includes(wanted) ? 1 : 0;
  return reused.rows;
}

function tipText(watch: Watch, hit: Hit): string {
  if (hit.type === "robot") {
    const t = watch.table!;
    const waits = t.waiting[hit.row]! !== 0 ? ` — ${waitingWords(t, hit.row)}` : "";
    return `${t.codes[hit.row]} · ${statusOfRow(t, hit.row).word} · ${percent(t.battery[hit.row]!)}${waits}`;
  }
  const floor = watch.floor.value;
  if (draft.value && floor) {
    const p = placeAt(floor, hit.x, hit.y, 2);
    return p ? `place ${p.name ?? p.vertex}` : "";
  }
  const lane = laneText(hit.x, hit.y, stage.peek()?.camera.scale ?? 1);
  if (lane !== "") return lane;
  if (hit.type === "zone") {
    const z = watch.zones.value.find((x) => x.zone_id === hit.id);
    const s = watch.zoneStatus.value.get(hit.id);
    const h = layers.value.jams ? watch.heat.value.get(hit.id) : undefined;
    if (z && h) return `${z.name} · ${heatText(h)}`;
    return z ? `${z.name} · ${s?.occupancy ?? z.occupancy ?? 0} of ${z.capacity} robots${s && s.queue_length > 0 ? ` · ${s.queue_length} wait` : ""}` : "";
  }
  return "";
}

function clicked(watch: Watch, map: MapView, hit: Hit): void {
  const floor = watch.floor.value;
  if (draft.value && floor) {
    const at = hit.type === "robot" ? { x: watch.table!.x[hit.row]!, y: watch.table!.y[hit.row]! } : hit;
    const p = placeAt(floor, at.x, at.y, REACH_PX / map.camera.scale);
    if (p) fill(p.name ?? p.vertex);
    return;
  }
  if (hit.type === "robot") selection.value = { type: "robot", id: watch.idOf(hit.row)! };
  else selection.value = hit.type === "zone" ? { type: "zone", id: hit.id } : null;
}

/** Makes the map and keeps it showing what the signals say; gives what ends that. */
function keep(watch: Watch, host: HTMLElement): () => void {
  const forced = settings.peek().find(([name]) => name === "renderer")?.[1];
  const map: MapView = new MapView(host, {
    click: (hit) => clicked(watch, map, hit),
    hover: (hit, at) => {
      const text = hit ? tipText(watch, hit) : "";
      tip.value = text === "" ? null : { x: at.clientX, y: at.clientY, text };
    },
    moved: (c, rect) => {
      if (!watch.floor.peek()) return; // it looks at nothing yet
      look.value = { x: c.x, y: c.y, scale: c.scale };
      watch.follow(map.detail === "clusters" ? null : padded(rect));
    },
    ...(forced === "canvas" || forced === "webgl" ? { renderer: forced } : {}),
  });
  stage.value = map;
  watch.onRobots = (t, rows) => map.setRobots(t, rows);
  if (watch.table) map.setRobots(watch.table, null); // what was known before somebody looked elsewhere
  const reused = { rows: new Uint8Array(0) };
  const stops = [
    ...keepTraffic(watch, map, () => robotOf(watch), () => (map.detail === "robots" ? padded(map.visible()) : null)),
    effect(() => map.setFloor(watch.floor.value)),
    effect(() => {
      if (!watch.floor.value || !wanted.value) return;
      map.camera = wanted.value;
      wanted.value = null; // another map is shown whole
    }),
    effect(() => {
      map.clockOffsetMs = watch.link.value.clockOffsetMs;
    }),
    effect(() => map.setZones(shapesOf(watch))),
    effect(() => {
      void watch.robotTick.value;
      const s = selection.value;
      const robot = robotOf(watch);
      const row = robot === null ? -1 : (watch.table?.row(robot) ?? -1);
      map.setSelection({ robotRow: row < 0 ? null : row, zoneId: s?.type === "zone" ? s.id : null });
    }),
    effect(() => {
      const d = watch.detail.value;
      const o = d?.order;
      const at = (v: { x: number; y: number }): [number, number] => [v.x, v.y];
      map.setOrder(d?.pose && o ? { at: at(d.pose), base: o.base.map(at), horizon: o.horizon.map(at), goal: o.goal ? at(o.goal) : null } : null);
    }),
    effect(() => map.setTrack(track.value ?? [])),
    effect(() => map.setMarks(marksOf(watch))),
    effect(() => map.setLayers(layers.value)),
    effect(() => map.setMatching(matching(watch, reused))),
    effect(() => {
      void theme.value;
      map.setTheme();
    }),
    effect(() => {
      if (watch.total.value > 0) watch.follow(map.detail === "clusters" ? null : padded(map.visible()));
    }),
    effect(() => watch.detailOf(robotOf(watch))),
    effect(() => {
      void draft.value;
      tip.value = null; // what it said was for the one who chose a place, or did not
    }),
    effect(() => {
      watch.why.value = null;
      if (selection.value !== null) watch.refresh();
    }),
  ];
  return () => {
    stops.forEach((stop) => stop());
    watch.onRobots = null;
    stage.value = null;
    map.destroy();
  };
}

/** The floor, live. */
export function Stage() {
  const { watch } = useWatch();
  const host = useRef<HTMLDivElement>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    try {
      return keep(watch, host.current!);
    } catch (e) {
      setFailed(true);
      throw e;
    }
  }, [watch]);
  const state = watch.floorState.value;
  const old = watch.link.value.phase !== "open" && watch.link.value.lastMessageAt > 0;
  return (
    <section class={`stage ${old ? "old" : ""} ${draft.value ? "choosing" : ""}`} aria-label="Floor">
      <div ref={host} class="map" tabIndex={0} role="application" aria-label="Map of the floor. Arrow keys move it, plus and minus zoom. The tables below list the same robots, tasks and zones." />
      {state === "loading" && <p class="over" role="status">Reading the map …</p>}
      {state === "none" && <p class="over">This warehouse has no active map. Upload one (<code>starling map import</code>) and activate it.</p>}
      {state === "failed" && <p class="over" role="alert">The map could not be read. The page tries again.</p>}
      {failed && <p class="over" role="alert">This browser cannot draw the map.</p>}
      <Controls />
      <Legend />
      {tip.value && <div class="tip" style={{ left: `${tip.value.x + 14}px`, top: `${tip.value.y + 14}px` }}>{tip.value.text}</div>}
      {settings.value.some(([name]) => name === "diagnostics") && <Diagnostics />}
    </section>
  );
}

function Controls() {
  const toggle = (name: keyof Layers, word: string) => (
    <label><input type="checkbox" checked={layers.value[name]} onChange={() => (layers.value = { ...layers.value, [name]: !layers.value[name] })} /> {word}</label>
  );
  return (
    <div class="controls">
      <button aria-label="Zoom in" title="Zoom in" onClick={() => stage.value?.zoomBy(1.6)}>+</button>
      <button aria-label="Zoom out" title="Zoom out" onClick={() => stage.value?.zoomBy(1 / 1.6)}>−</button>
      <button aria-label="Show the whole floor" title="Whole floor (f)" onClick={() => stage.value?.fit()}>⤢</button>
      <Menu name="layers" label="Layers" title="Layers" sign="▤">
        <fieldset class="card"><legend class="hidden">Layers</legend>{toggle("zones", "Zones")}{toggle("heat", "Occupancy")}{toggle("names", "Names")}{toggle("lanes", "Lanes")}{toggle("flow", "Traffic")}{toggle("waits", "Waits")}{toggle("jams", "Congestion")}</fieldset>
      </Menu>
    </div>
  );
}

/** What the map costs, for who measures it: `?diagnostics`. */
function Diagnostics() {
  const { watch } = useWatch();
  void watch.now.value;
  const s = stage.value?.stats;
  const q = (all: Float32Array | undefined, p: number): string => {
    const sorted = [...(all ?? [])].sort((a, b) => a - b);
    return sorted.length === 0 ? "—" : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]!.toFixed(2);
  };
  return (
    <output class="diagnostics" data-testid="diagnostics" data-frames={s?.frames} data-frame-p50={q(s?.frameMs, 0.5)} data-frame-p99={q(s?.frameMs, 0.99)} data-update-p50={q(s?.updateMs, 0.5)} data-update-p99={q(s?.updateMs, 0.99)} data-robots={watch.table?.count ?? 0} data-detail={stage.value?.detail} data-renderer={stage.value?.renderer} data-gaps={watch.counters.gaps} data-opened={watch.counters.opened}>
      {stage.value?.renderer} · {watch.table?.count ?? 0} robots · frame P50 {q(s?.frameMs, 0.5)} P99 {q(s?.frameMs, 0.99)} ms · update P50 {q(s?.updateMs, 0.5)} P99 {q(s?.updateMs, 0.99)} ms
    </output>
  );
}
