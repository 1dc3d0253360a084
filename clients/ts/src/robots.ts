import type { Robot } from "./api.js";

/** `RobotTable.state` by number. */
export const STATES = ["UNKNOWN", "IDLE", "MOVING", "WAITING", "CHARGING", "PAUSED", "ERROR", "MANUAL"] as const;
/** `RobotTable.connection` by number. */
export const CONNECTIONS = ["NEVER_SEEN", "ONLINE", "STALE", "OFFLINE"] as const;
/** `RobotTable.waiting` by number: what the robot waits for; 255 = something that this client has no number for. */
export const WAITING = [
  "none", "occupied", "claimed", "closed", "suspect", "no_lease", "recording", "no_way", "halted", "no_robot", "not_yet", "no_map",
  "border", "unlocalised", "admission", "battery", "footprint",
] as const;
/** `RobotTable.waiting` of a cause that this client has no number for. */
export const WAITING_OTHER = 255;
/** The bits of `RobotTable.flags`. */
export const FLAG = { posed: 1, tasked: 2, faulty: 4, external: 8 } as const;

const stateOf = new Map<string, number>(STATES.map((name, i) => [name, i]));
const connectionOf = new Map<string, number>(CONNECTIONS.map((name, i) => [name, i]));
const waitingOf = new Map<string, number>(WAITING.map((name, i) => [name, i]));

/**
 * The robots of a subscription as a struct of arrays: row `i` of each array is one robot. About 60 bytes a robot beside its id and
 * code; no object per robot. Filled from JSON and binary frames alike.
 *
 * Read it, never write to it, and take the arrays anew after each change: they are replaced when they grow. A row belongs to one
 * robot until `generation` changes; a robot that left keeps its row with `live` 0 and gets it back when it returns.
 */
export class RobotTable {
  /** Rises by one with each snapshot: from then on rows mean other robots. */
  generation = 0;
  /** Rows in use, holes (rows with `live` 0) included. */
  size = 0;
  /** Robots that are there: rows in use without the holes. */
  count = 0;
  /** 1 where the row's robot is there. */
  live = new Uint8Array(0);
  /** Robot ids and codes by row. */
  ids: string[] = [];
  codes: string[] = [];
  /** Metres in the map's frame; NaN where the pose is unknown. */
  x = new Float32Array(0);
  y = new Float32Array(0);
  /** Radians counter-clockwise from +x, -π..π; 0 where the pose is unknown. */
  theta = new Float32Array(0);
  /** m/s, >= 0; 0 where unknown. */
  speed = new Float32Array(0);
  /** 0..1; NaN where unknown. */
  battery = new Float32Array(0);
  /** Index into {@link STATES}. */
  state = new Uint8Array(0);
  /** Index into {@link CONNECTIONS}. */
  connection = new Uint8Array(0);
  /** Bits of {@link FLAG}. */
  flags = new Uint8Array(0);
  /** Index into {@link WAITING}, or {@link WAITING_OTHER}. */
  waiting = new Uint8Array(0);
  /** When the robot was last heard, ms since 1970 by the server's clock (`Date.now() + clockOffsetMs`); NaN = never. */
  heardAt = new Float64Array(0);

  // By id; made when first asked for, since a snapshot of many robots is drawn before anyone asks for one of them.
  #rows: Map<string, number> | null = null;

  /** The row of a robot that is there; -1 where there is none. */
  row(id: string): number {
    const row = this.#index().get(id);
    return row !== undefined && this.live[row] === 1 ? row : -1;
  }

  /** Forgets all robots: a snapshot begins. For the live channel. @internal */
  reset(capacity: number): void {
    this.generation++;
    this.size = this.count = 0;
    this.ids = [];
    this.codes = [];
    this.#rows = null;
    if (capacity > this.live.length) this.#grow(capacity);
  }

  /** A row for a robot that comes, its old one where it was here before. For the live channel. @internal */
  enter(id: string, code: string, fresh = false): number {
    // A fresh table has nobody to find: the index need not exist yet.
    let row = fresh ? undefined : this.#index().get(id);
    if (row === undefined) {
      row = this.size++;
      if (row >= this.live.length) this.#grow(Math.max(64, 2 * row));
      this.ids[row] = id;
      this.live[row] = 0;
      this.#rows?.set(id, row);
    }
    this.codes[row] = code;
    this.comeBack(row);
    return row;
  }

  /** The robot of this row is there (again). For the live channel. @internal */
  comeBack(row: number): void {
    if (this.live[row] === 0) {
      this.live[row] = 1;
      this.count++;
    }
  }

  /** The robot of this row has left. For the live channel. @internal */
  leave(row: number): void {
    if (this.live[row] === 1) {
      this.live[row] = 0;
      this.count--;
    }
  }

  /** Takes a robot as JSON describes it; gives its row. `now`: ms, the server's clock. For the live channel. @internal */
  put(r: Robot, now: number): number {
    const row = this.enter(r.robot_id, r.robot_code ?? ""); // a robot whose registration has not been read yet has neither code nor control
    const pose = r.pose;
    this.x[row] = pose ? pose.x : NaN;
    this.y[row] = pose ? pose.y : NaN;
    this.theta[row] = pose ? turned(pose.theta) : 0;
    this.speed[row] = Math.abs(r.velocity_mps ?? 0);
    this.battery[row] = r.battery_soc ?? NaN;
    this.state[row] = stateOf.get(r.state ?? "UNKNOWN") ?? 0;
    this.connection[row] = connectionOf.get(r.connection) ?? 0;
    this.flags[row] =
      (pose ? FLAG.posed : 0) | (r.task_id ? FLAG.tasked : 0) | (r.errors.length > 0 ? FLAG.faulty : 0) | ((r.control ?? "engine") !== "engine" ? FLAG.external : 0);
    this.waiting[row] = waitingOf.get(r.waiting || "none") ?? WAITING_OTHER;
    this.heardAt[row] = r.age_ms === null ? NaN : now - r.age_ms;
    return row;
  }

  #index(): Map<string, number> {
    if (this.#rows === null) {
      this.#rows = new Map();
      for (let i = 0; i < this.size; i++) this.#rows.set(this.ids[i]!, i);
    }
    return this.#rows;
  }

  #grow(capacity: number): void {
    this.live = grown(this.live, new Uint8Array(capacity));
    this.x = grown(this.x, new Float32Array(capacity));
    this.y = grown(this.y, new Float32Array(capacity));
    this.theta = grown(this.theta, new Float32Array(capacity));
    this.speed = grown(this.speed, new Float32Array(capacity));
    this.battery = grown(this.battery, new Float32Array(capacity));
    this.state = grown(this.state, new Uint8Array(capacity));
    this.connection = grown(this.connection, new Uint8Array(capacity));
    this.flags = grown(this.flags, new Uint8Array(capacity));
    this.waiting = grown(this.waiting, new Uint8Array(capacity));
    this.heardAt = grown(this.heardAt, new Float64Array(capacity));
  }
}

function grown<A extends Uint8Array | Float32Array | Float64Array>(old: A, larger: A): A {
  larger.set(old);
  return larger;
}

/** An angle in -π..π. */
function turned(theta: number): number {
  return theta - 2 * Math.PI * Math.round(theta / (2 * Math.PI));
}
