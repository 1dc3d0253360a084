import type { Robot, Schemas, Task } from "./api.js";
import type { ErrorBody } from "./error.js";

// The messages of the live channel as they stand on the wire (docs/live.md).

/** What a subscription is about; all that is given must hold. */
export interface Filter {
  warehouse_id?: string;
  /** Up to 1,000 ids. Channel robots. */
  robot_ids?: readonly string[];
  /** Up to 1,000 ids; the snapshot then has finished tasks too. Channel tasks. */
  task_ids?: readonly string[];
  /** `[x0, y0, x1, y1]`, map metres; needs `warehouse_id`. Channel robots. */
  rect?: readonly [number, number, number, number];
  /** Alerts that are or have been as bad or worse; without it nothing is missed over reconnections. Channel alerts. */
  min_level?: "L1" | "L2" | "L3";
}

export type TaskEventName =
  | "created" | "assigned" | "unassigned" | "started" | "errand_reached" | "cancel_started" | "cancelled" | "succeeded" | "failed";

/** A recorded transition: the task as it was after it, and which one it was. */
export type TaskEvent = Task & { event: TaskEventName };

/** Something that is wrong, and what was done about it. */
export type Alert = Schemas["Alert"];

/** A recorded step of an alert: the alert as it was after it, and which one it was: open, raise, acknowledge, … */
export type AlertEvent = Alert & { event: Alert["handling"][number]["action"] };

/** A zone's congestion window, in robots. */
export interface ZoneWindow {
  /** Most of `admitted` and `inbound` together. */
  limit: number;
  admitted: number;
  inbound: number;
  /** False: the limit is only shown. */
  enforced: boolean;
  /** What the adaptive controller would set. */
  shadow: number;
}

/** What a lane costs, as robots drive it now. */
export interface LaneCost {
  lane_id: string;
  /** The cost by that without traffic. */
  cost_ratio: number;
  /** x, y of its ends, map metres. */
  from: [number, number];
  to: [number, number];
}

/** How congested a zone or lane is, as it was measured last: an item of `GET /congestion/hotspots`; a lane says where it lies. */
export type Heat = Omit<Schemas["HotspotItem"], "recent"> & { zone_id?: string; from?: [number, number]; to?: [number, number] };

/** How full a zone is. */
export interface ZoneStatus {
  zone_id: string;
  /** Robots in it. */
  occupancy: number;
  capacity: number;
  /** Robots that wait to enter. */
  queue_length: number;
  /** How many robots it admits: an older server does not say. */
  window?: ZoneWindow;
  /** With which zones it is planned together just now; null = alone. */
  domain?: { term: number; leader: string } | null;
  /** Lanes that start in it and cost at least a tenth more than without traffic. */
  lanes?: LaneCost[];
  version: number;
}

export interface OrderVertex {
  vertex: string;
  x: number;
  y: number;
}

/** What a robot has been told to drive. */
export interface RobotOrder {
  order_id: number;
  /** Vertices it may drive to now. */
  base: OrderVertex[];
  /** Vertices that are expected to follow. */
  horizon: OrderVertex[];
  goal: OrderVertex | null;
  /** Vertices it may claim ahead. */
  window: number;
  /** Until when its grants hold without being renewed; RFC 3339. */
  lease_until: string | null;
}

/** A robot with its order, as `detail` asks for it. */
export type RobotDetail = Robot & { order?: RobotOrder | null };

export type Channel = "robots" | "tasks" | "zones" | "congestion" | "alerts";

export interface WireEvent {
  type: string;
  data: unknown;
}

/** What the server may send, after {@link readMessage} has looked at its shape. */
export type ServerMessage =
  | { op: "subscribed"; id: number; epoch: string; seq: number; recovered: boolean }
  | { op: "snapshot"; id: number; seq: number; items: unknown[]; more: boolean }
  | { op: "delta"; id: number; seq: number; events: WireEvent[] }
  | { op: "error"; id: number | null; error: ErrorBody; retryAfterMs: number | undefined }
  | { op: "ping"; t: unknown }
  | { op: "pong"; t: unknown; now: number }
  | { op: "token"; expiresAt: number }
  | { op: "unsubscribed"; id: number }
  | { op: "closing"; reason: string; retryAfterMs: number };

/** Reads a text frame; null where it is no message of the protocol that this client knows. Never throws. */
export function readMessage(text: string): ServerMessage | null {
  let m: Record<string, unknown>;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return null;
    m = value as Record<string, unknown>;
  } catch {
    return null;
  }
  const { op } = m;
  switch (op) {
    case "subscribed":
    case "snapshot":
    case "delta":
    case "unsubscribed":
      return typeof m["id"] === "number" ? readFlow(op, m["id"], m) : null;
    case "error":
      return { op, id: typeof m["id"] === "number" ? m["id"] : null, error: readError(m["error"]), retryAfterMs: number(m["retry_after_ms"]) };
    case "ping":
      return { op, t: m["t"] };
    case "pong":
      return { op, t: m["t"], now: typeof m["now"] === "string" ? Date.parse(m["now"]) : NaN };
    case "token":
      return { op, expiresAt: typeof m["expires_at"] === "string" ? Date.parse(m["expires_at"]) : NaN };
    case "closing":
      return { op, reason: typeof m["reason"] === "string" ? m["reason"] : "closing", retryAfterMs: Math.max(0, number(m["retry_after_ms"]) ?? 0) };
    default:
      return null; // a later server may say more than we know
  }
}

function readFlow(op: "subscribed" | "snapshot" | "delta" | "unsubscribed", id: number, m: Record<string, unknown>): ServerMessage | null {
  if (op === "unsubscribed") return { op, id };
  const { seq, items, events } = m;
  if (typeof seq !== "number") return null;
  switch (op) {
    case "subscribed":
      return typeof m["epoch"] === "string" ? { op, id, epoch: m["epoch"], seq, recovered: m["recovered"] === true } : null;
    case "snapshot":
      return Array.isArray(items) && items.every(isObject) ? { op, id, seq, items, more: m["more"] === true } : null;
    case "delta":
      return Array.isArray(events) && events.every(isEvent) ? { op, id, seq, events } : null;
  }
}

function isObject(v: unknown): boolean {
  return typeof v === "object" && v !== null;
}

function isEvent(v: unknown): v is WireEvent {
  return isObject(v) && isObject((v as WireEvent).data);
}

function readError(v: unknown): ErrorBody {
  return isObject(v) ? (v as ErrorBody) : {};
}

function number(v: unknown): number | undefined {
  return typeof v === "number" && Number.isFinite(v) ? v : undefined;
}
