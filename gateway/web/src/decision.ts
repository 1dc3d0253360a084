import type { Schemas } from "starling-client";

export type Decision = Schemas["Decision"];

/** A part of a decision's cost. */
export interface Part {
  name: string;
  /** Seconds; less than 0 = it speaks for the robot. */
  seconds: number;
}

const words: Record<string, string> = {
  travel: "the way to it", queue: "what is before it", battery: "battery", priority: "priority", deadline: "deadline", switching: "changing the robot",
};
const known = Object.keys(words);
/** What is less than this is nothing, seconds. */
const NOTHING_S = 0.05;

/** The parts of a cost in their order; parts that a later server adds come last, and parts that are nothing are left out. */
export function partsOf(cost: Decision["cost"]): Part[] {
  const order = (name: string): number => (known.includes(name) ? known.indexOf(name) : known.length);
  return Object.entries(cost)
    .filter(([name, v]) => name !== "total" && typeof v === "number" && Math.abs(v) >= NOTHING_S)
    .sort(([a], [b]) => order(a) - order(b))
    .map(([name, seconds]) => ({ name: words[name] ?? name.replaceAll("_", " "), seconds }));
}

/** The longest of the parts, seconds: what the bars are drawn against. */
export function longest(parts: readonly Part[]): number {
  return Math.max(NOTHING_S, ...parts.map((p) => Math.abs(p.seconds)));
}

/** 12.3 s, −4.0 s, +2.0 s. */
export function seconds(v: number, signed = false): string {
  return `${v < 0 ? "−" : signed ? "+" : ""}${Math.abs(v).toFixed(1)} s`;
}

/** What a decision changed about the one before it of the same task, in words; "" = there was none before. `robot`: how people call a robot. */
export function changeOf(now: Decision, before: Decision | undefined, robot: (id: string) => string): string {
  if (!before) return "";
  const was = before.robot_id, is = now.robot_id;
  const by = now.cost.total - before.cost.total;
  const cost = Math.abs(by) < NOTHING_S ? "at the same cost" : `${seconds(Math.abs(by))} ${by < 0 ? "cheaper" : "dearer"} than when that was decided`;
  if (was === is) return is === null ? "Still no robot." : `Still ${robot(is)}, ${cost}.`;
  if (was === null) return `${robot(is!)}, where before no robot could be found.`;
  if (is === null) return `Taken from ${robot(was)}.`;
  return `Moved from ${robot(was)} to ${robot(is)}, ${cost}.`;
}
