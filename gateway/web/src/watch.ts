import { batch, signal, type Signal } from "@preact/signals";
import { ApiError, Live, type AnswerOf, type Heat, RobotTable, type LiveState, type RobotDetail, type Schemas, type Subscription, type Task, type TaskEvent, type Why, type ZoneStatus } from "starling-client";
import { floorOf, type Floor } from "./map/floor.js";
import { Memory } from "./memory.js";
import { Alerts } from "./alerts.js";
import { Tasks } from "./tasks.js";
import { api, expired, polling, refuse, session } from "./session.js";
import { selection } from "./route.js";

export type Warehouse = Schemas["Warehouse"];
export type Overview = Schemas["Overview"];
export type Zone = Schemas["Zone"];
export type Waits = AnswerOf<"/api/v1/waits", "get">;
/** Which waits are wanted: those of the robots in a rectangle (null = none), and the chain of a robot. */
export interface WaitsWanted {
  rect: [number, number, number, number] | null;
  robot: string | null;
}

/** A fleet of more robots is not followed as a whole: zones from afar, and from near the robots in view. */
export const WHOLE_FLEET = 20_000;
let serials = 0;
const OVERVIEW_MS = 2_000;
const WHY_MS = 2_000;
const WAITS_MS = 1_000;
/** A rectangle in which nobody stands. */
const NOWHERE = [0, 0, 0, 0];
const MAP_MS = 15_000;
const TICK_MS = 500;

/**
 * All that the page knows of one warehouse, kept up to date until `close`. Robots, zones and tasks come by the live channel, the
 * overview and reasons are asked for while somebody looks.
 */
export class Watch {
  /** Tells this watch from those before. */
  readonly serial = ++serials;
  readonly warehouse: Warehouse;
  /** How the connection stands. */
  readonly link: Signal<LiveState>;
  readonly floor = signal<Floor | null>(null);
  /** "none": the warehouse has no active map. */
  readonly floorState = signal<"loading" | "ready" | "none" | "failed">("loading");
  /** The robots that are followed; rises with each change. */
  readonly robotTick = signal(0);
  readonly zones = signal<Zone[]>([]);
  readonly zoneStatus = signal<ReadonlyMap<string, ZoneStatus>>(new Map());
  readonly overview = signal<Overview | null>(null);
  readonly tasks = new Tasks();
  /** What is wrong. */
  readonly alerts = new Alerts();
  readonly memory = new Memory();
  /** When that was made, ms since 1970, this machine's clock. */
  readonly overviewAt = signal(Date.now());
  /** The robot that is looked at, in full, and when that came, ms since 1970, the server's clock. */
  readonly detail = signal<RobotDetail | null>(null);
  readonly detailAt = signal(0);
  /** What of the live channel does not flow, for somebody to read; "" = all does. */
  readonly halted = signal("");
  /** Whether the zones of the active map are known. */
  readonly zonesKnown = signal(false);
  /** Why the selected robot or task waits. */
  readonly why = signal<Why | null>(null);
  /** Who waits for whom, as far as somebody wants to see that; null = nobody does, or it is not known yet. */
  readonly waits = signal<Waits | null>(null);
  /** How congested zones and lanes are, by id; empty where nobody wants to see that, or nothing was measured yet. */
  readonly heat = signal<ReadonlyMap<string, Heat>>(new Map());
  /** The server's clock, ms since 1970; moves twice a second. */
  readonly now = signal(Date.now());
  /** Robots that registered, as the overview says; from that follows how they are followed. */
  readonly total = signal(0);
  /** The one who draws the robots. */
  onRobots: ((t: RobotTable, rows: Uint32Array | null) => void) | null = null;

  table: RobotTable | null = null;
  readonly #live: Live;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  readonly #aborted = new AbortController();
  readonly #flows: Record<string, Subscription>;
  readonly #asking = new Set<string>();
  #refusal = "";
  #robots: Subscription | null = null;
  #details: Subscription | null = null;
  #heat: Subscription | null = null;
  #detailOf = "";
  #rect: string | null = null;
  #mapKey = "";
  #waitsWanted: WaitsWanted | null = null;

  constructor(warehouse: Warehouse) {
    this.warehouse = warehouse;
    const tenant = session.value?.tenant ?? "";
    this.#live = new Live({ url: location.origin, token: () => session.value?.token ?? "", encoding: "bin", ...(tenant === "" ? {} : { tenant }) });
    this.link = signal(this.#live.state);
    this.#live.onState((s) => {
      this.link.value = s;
      if (s.phase === "closed" && s.reason === "unauthenticated") refuse();
    });
    const filter = { warehouse_id: warehouse.warehouse_id };
    this.#live.onError((e) => (this.#refusal = e.message));
    this.#flows = {
      zones: this.#live.zones({ filter, rateHz: 1 }, { change: (z) => (this.zoneStatus.value = new Map(z)) }),
      tasks: this.#live.tasks({ filter }, { snapshot: (all) => this.tasks.replace(all), events: (e) => this.#took(e) }),
      alerts: this.#live.alerts({ filter }, { snapshot: (all) => this.alerts.replace(all), events: (e) => this.alerts.take(e) }),
    };
    void this.#askOverview();
    void this.#askMap();
    this.#every(OVERVIEW_MS, () => this.#askOverview());
    this.#every(MAP_MS, () => this.#askMap());
    this.#every(WHY_MS, () => this.#askWhy());
    this.#every(WAITS_MS, () => this.#askWaits());
    this.#every(TICK_MS, () => this.#tick());
  }

  /** Ends all. */
  close(): void {
    this.#aborted.abort();
    this.#timers.forEach((t) => clearInterval(t));
    this.#live.close();
  }

  /** Gives the connection the token of now, or makes it again with it. Rejects where the server does not take it for this connection. */
  async renew(): Promise<void> {
    await this.#live.renewToken();
  }

  /** How old what is seen is, ms: since anything was heard. Infinity before that. */
  ageMs(): number {
    const heard = this.#live.state.lastMessageAt;
    return heard === 0 ? Infinity : Math.max(0, Date.now() - heard);
  }

  /** Deltas that did not follow on the one before, and snapshots that mended that, since the page was opened. */
  get counters(): Live["counters"] {
    return this.#live.counters;
  }

  /**
   * Follows the robots of the whole floor, of what is in view (`rect`, map metres, for fleets that are too large to be followed
   * whole), or none.
   */
  follow(rect: readonly [number, number, number, number] | null): void {
    const whole = this.total.value <= WHOLE_FLEET;
    const key = whole ? "all" : rect === null ? "none" : rect.join(",");
    if (key === this.#rect || this.total.value === 0) return;
    this.#rect = key;
    const filter = { warehouse_id: this.warehouse.warehouse_id, ...(whole || rect === null ? {} : { rect }) };
    if (key === "none") {
      this.#robots?.close();
      this.#robots = null;
      this.table = null;
      this.robotTick.value++;
      this.onRobots?.(new RobotTable(), null);
    } else if (this.#robots) this.#robots.update({ filter });
    else this.#robots = this.#live.robots({ filter, rateHz: 1 }, { change: (t, rows) => this.#moved(t, rows) });
  }

  /** Follows a robot in full. */
  detailOf(id: string | null): void {
    if (id === this.#detailOf) return;
    this.#detailOf = id ?? "";
    this.#details?.close();
    this.#details = null;
    this.detail.value = null;
    if (id !== null) {
      this.#details = this.#live.robotDetails({ robotIds: [id], rateHz: 2 }, { change: (m) => this.#looked(m.get(id) ?? null) });
    }
  }

  /** Says which waits to ask for, once a second; null = none. */
  wantWaits(w: WaitsWanted | null): void {
    const had = this.#waitsWanted;
    this.#waitsWanted = w;
    if (w === null) this.waits.value = null;
    else if (had === null || had.robot !== w.robot) void this.#askWaits();
  }

  /** Says whether somebody wants to see where it jams. */
  wantHeat(wanted: boolean): void {
    if (wanted === (this.#heat !== null)) return;
    this.#heat?.close();
    this.#heat = wanted ? this.#live.congestion({ filter: { warehouse_id: this.warehouse.warehouse_id }, rateHz: 1 }, { change: (h) => (this.heat.value = new Map(h)) }) : null;
    if (!wanted) this.heat.value = new Map();
  }

  /** Asks anew why the selection waits, and how the warehouse does: something was just done about it. */
  refresh(): void {
    void this.#askWhy();
    void this.#askOverview();
  }

  /** A robot by its row of the table. */
  idOf(row: number): string | null {
    return this.table?.ids[row] ?? null;
  }

  #every(ms: number, f: () => unknown): void {
    // Nobody looks at a hidden tab: it asks for nothing. What comes by the live channel stays up to date.
    const idle = (): boolean => document.hidden || expired.value || (this.#live.state.phase !== "open" && this.#live.state.lastMessageAt > 0);
    this.#timers.push(setInterval(() => (ms !== TICK_MS && idle() ? undefined : void f()), ms));
  }

  #looked(r: RobotDetail | null): void {
    batch(() => {
      this.detail.value = r;
      this.detailAt.value = Date.now() + this.#live.state.clockOffsetMs;
    });
  }

  #tick(): void {
    batch(() => {
      this.now.value = Date.now() + this.#live.state.clockOffsetMs;
      this.tasks.tick();
      this.alerts.tick();
      const flows = Object.entries({ ...this.#flows, ...(this.#robots ? { robots: this.#robots } : {}), ...(this.#heat ? { congestion: this.#heat } : {}) });
      const halted = flows.filter(([, s]) => !s.flowing).map(([name]) => name).join(", ");
      this.halted.value = halted === "" ? "" : this.#refusal === "" ? halted : `${halted} (${this.#refusal})`;
      if (halted === "") this.#refusal = "";
      this.memory.sample(this.now.value, this.table, this.zoneStatus.value);
    });
  }

  #moved(t: RobotTable, rows: Uint32Array | null): void {
    this.table = t;
    this.robotTick.value++;
    this.onRobots?.(t, rows);
  }

  #took(events: TaskEvent[]): void {
    this.tasks.take(events);
    const chosen = selection.value;
    if (chosen?.type === "task" && events.some((e) => e.task_id === chosen.id)) void this.#askWhy();
  }

  async #askOverview(): Promise<void> {
    await this.#ask("overview", async () => {
      const o = await polling.get("/api/v1/overview", { query: { warehouse_id: this.warehouse.warehouse_id }, signal: this.#aborted.signal });
      batch(() => {
        this.overview.value = o;
        this.overviewAt.value = Date.now();
        this.total.value = o.robots.total;
        this.memory.tempo(Date.parse(o.at), o);
      });
    });
  }

  async #askWhy(): Promise<void> {
    const chosen = selection.value;
    if (chosen === null || chosen.type === "zone") return;
    const signal = this.#aborted.signal;
    await this.#ask(`why ${chosen.id}`, async () => {
      const why =
        chosen.type === "robot"
          ? await polling.get("/api/v1/robots/{robot_id}/why", { path: { robot_id: chosen.id }, signal })
          : await polling.get("/api/v1/tasks/{task_id}/why", { path: { task_id: chosen.id }, signal });
      if (selection.value?.id === chosen.id) this.why.value = why;
    });
  }

  async #askWaits(): Promise<void> {
    if (this.#waitsWanted === null) return;
    await this.#ask("waits", async () => {
      const { rect, robot } = this.#waitsWanted!;
      const query = { warehouse_id: this.warehouse.warehouse_id, rect: rect ?? NOWHERE, ...(robot === null ? {} : { robot_id: robot }) };
      const waits = await polling.get("/api/v1/waits", { query, signal: this.#aborted.signal });
      if (this.#waitsWanted !== null) this.waits.value = waits; // while it was asked for somebody may have turned away
    });
  }

  async #askMap(): Promise<void> {
    await this.#ask("map", async () => {
      try {
        await this.#readMap();
      } catch (e) {
        if (this.floor.value === null && !this.#aborted.signal.aborted) this.floorState.value = "failed";
        throw e;
      }
    });
  }

  async #readMap(): Promise<void> {
    const signal = this.#aborted.signal;
    const warehouse_id = this.warehouse.warehouse_id;
    const maps = await polling.get("/api/v1/maps", { query: { warehouse_id, limit: 500 }, signal });
    const active = maps.items.find((m) => m.active_version !== null);
    if (!active) {
      batch(() => {
        this.floor.value = null;
        this.floorState.value = "none";
      });
      return;
    }
    const key = `${active.map_id}/${active.active_version}`;
    const plan = key === this.#mapKey ? null : await api.get("/api/v1/maps/{map_id}/versions/{n}/floor-plan", { path: { map_id: active.map_id, n: active.active_version! }, signal });
    const zones: Zone[] = [];
    for await (const z of polling.items("/api/v1/zones", { query: { map_id: active.map_id, limit: 500 }, signal })) zones.push(z);
    this.#mapKey = key;
    batch(() => {
      this.zones.value = zones;
      this.zonesKnown.value = true;
      if (plan) this.floor.value = floorOf(plan);
      this.floorState.value = "ready";
    });
  }

  // One at a time of each. What is asked for again and again may fail once: the next answer mends it, and the page says that the
  // server is away, or how old what is shown has become.
  async #ask(what: string, call: () => Promise<void>): Promise<void> {
    if (this.#asking.has(what)) return;
    this.#asking.add(what);
    try {
      await call();
    } catch (e) {
      if (!(this.#aborted.signal.aborted || e instanceof ApiError)) throw e;
    } finally {
      this.#asking.delete(what);
    }
  }
}

/** A task by its id, from what is followed or from the server; null where there is none. */
export async function findTask(w: Watch, id: string): Promise<Task | null> {
  const known = w.tasks.get(id);
  if (known) return known;
  try {
    const task = await api.get("/api/v1/tasks/{task_id}", { path: { task_id: id } });
    w.tasks.remember(task, task.warehouse_id === w.warehouse.warehouse_id);
    return task;
  } catch (e) {
    if (e instanceof ApiError && (e.status === 404 || e.status === 422)) return null;
    throw e;
  }
}
