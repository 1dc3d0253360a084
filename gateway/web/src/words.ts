import { CONNECTIONS, FLAG, STATES, WAITING, type Robot, type RobotTable, type Task } from "starling-client";

// What the engine's words mean to somebody who stands before the screen.

/** How a robot is shown, everywhere: the word, the sign and the colour's name in the tokens. */
export interface Status {
  word: string;
  /** Name of the sign in {@link ./panels/sign.tsx} and of the token `--robot-…`. */
  sign: "idle" | "moving" | "waiting" | "charging" | "paused" | "error" | "manual" | "offline";
}

const statuses: Record<string, Status> = {
  IDLE: { word: "Idle", sign: "idle" },
  MOVING: { word: "Moving", sign: "moving" },
  WAITING: { word: "Waiting", sign: "waiting" },
  CHARGING: { word: "Charging", sign: "charging" },
  PAUSED: { word: "Paused", sign: "paused" },
  ERROR: { word: "Error", sign: "error" },
  MANUAL: { word: "Manual", sign: "manual" },
};

/** What a robot does. One that is not heard does nothing that we know of. */
export function statusOf(connection: string, state: string | null): Status {
  if (connection === "NEVER_SEEN") return { word: "Never seen", sign: "offline" };
  if (connection === "OFFLINE") return { word: "Offline", sign: "offline" };
  const s = statuses[state ?? ""] ?? { word: "Unknown", sign: "offline" };
  return connection === "STALE" ? { word: `${s.word}, silent`, sign: "offline" } : s;
}

export function statusOfRow(t: RobotTable, row: number): Status {
  return statusOf(CONNECTIONS[t.connection[row]!] ?? "", STATES[t.state[row]!] ?? "");
}

export function statusOfRobot(r: Robot): Status {
  return statusOf(r.connection, r.state);
}

const causes: Record<string, string> = {
  none: "",
  occupied: "the way is held by another robot",
  claimed: "another robot goes first",
  closed: "the way is closed",
  suspect: "the way is blocked until a lost robot reports or is removed",
  no_lease: "the engine may not grant now",
  recording: "the entry is being recorded",
  no_way: "the goal cannot be reached",
  halted: "the robot is paused, faulty or offline",
  no_robot: "no free robot can do it",
  not_yet: "its earliest start lies ahead",
  no_map: "the warehouse has no active map",
  border: "the neighbour zone has not answered",
  unlocalised: "the robot's position is unknown or off the map",
  admission: "the next zone admits no more robots on their way through",
  battery: "the batteries of the robots that could do it do not last for it",
  footprint: "the robot is too wide for the way",
  silent: "nothing is heard from it",
  robot_error: "it reports an error",
  manual: "it is driven by hand",
  paused: "it is paused",
  deadline_passed: "its deadline has passed",
  cancelling: "the robot has not confirmed the cancellation",
};

/** A cause as a clause: "the way is closed". One that is not known is said as it is. */
export function causeWords(cause: string): string {
  return causes[cause] ?? cause.replaceAll("_", " ");
}

export function waitingWords(t: RobotTable, row: number): string {
  return causeWords(WAITING[t.waiting[row]!] ?? "something else");
}

export const TASK_STATUSES = ["CREATED", "ASSIGNED", "EXECUTING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED"] as const;

const taskWords: Record<Task["status"], string> = {
  CREATED: "Waiting for a robot",
  ASSIGNED: "Assigned",
  EXECUTING: "Under way",
  CANCELLING: "Cancelling",
  SUCCEEDED: "Done",
  FAILED: "Failed",
  CANCELLED: "Cancelled",
};
export function taskWord(s: Task["status"]): string {
  return taskWords[s];
}

export function typeWord(t: Task["task_type"]): string {
  return t === "go_to" ? "go to" : t;
}

/** The places of a task in order, with what happens there. */
export function errands(t: Pick<Task, "task_type" | "payload">): { place: string; kind: "pickup" | "dropoff" | "waypoint" }[] {
  const p = t.payload as { pickup?: string; dropoff?: string; waypoints?: string[] };
  return [
    ...(p.pickup ? [{ place: p.pickup, kind: "pickup" as const }] : []),
    ...(p.waypoints ?? []).map((place) => ({ place, kind: "waypoint" as const })),
    ...(p.dropoff ? [{ place: p.dropoff, kind: "dropoff" as const }] : []),
  ];
}

export function isLate(t: Task, now: number): boolean {
  return t.deadline !== null && (t.finished_at !== null ? Date.parse(t.finished_at) : now) > Date.parse(t.deadline) && t.status !== "CANCELLED";
}

/** The groups by which robots are filtered. */
export const SHOWN = ["available", "working", "waiting", "charging", "unavailable", "low battery"] as const;
const LOW_BATTERY = 0.2;

/** Whether a robot belongs to a group of {@link SHOWN}; "" = all. */
export function shows(group: string, t: RobotTable, row: number): boolean {
  const { sign } = statusOfRow(t, row);
  switch (group) {
    case "available":
      return sign === "idle" && (t.flags[row]! & FLAG.tasked) === 0;
    case "working":
      return (t.flags[row]! & FLAG.tasked) !== 0;
    case "waiting":
      return sign === "waiting" || t.waiting[row]! !== 0;
    case "charging":
      return sign === "charging";
    case "unavailable":
      return sign === "offline" || sign === "error" || sign === "paused" || sign === "manual";
    case "low battery":
      return t.battery[row]! < LOW_BATTERY;
    default:
      return true;
  }
}

/** The first part of an id, enough to tell things apart on a screen. */
export function short(id: string): string {
  return id.slice(0, 8);
}

export function percent(v: number | null): string {
  return v === null || Number.isNaN(v) ? "—" : `${Math.round(v * 100)} %`;
}

/** 1,234, and from 10,000 on 12k: where there is little room. */
export function brief(n: number): string {
  return n < 10_000 ? count(n) : `${Math.floor(n / 1000)}k`;
}

/** 1,234. */
export function count(n: number): string {
  return n.toLocaleString("en-GB");
}
