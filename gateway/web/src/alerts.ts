import { signal } from "@preact/signals";
import type { Alert, AlertEvent } from "starling-client";

/** Resolved alerts that are kept, the newest. */
const RESOLVED_KEPT = 500;

/** What is wrong in a warehouse, and what was while the page was open. Told of each step, shown at most twice a second. */
export class Alerts {
  /** Rises when something has changed and `tick` was called. */
  readonly changes = signal(0);
  /** Whether the unresolved ones are known. */
  readonly known = signal(false);
  readonly #all = new Map<string, Alert>();
  #changed = false;

  /** The unresolved ones are these: the rest was resolved meanwhile, or is forgotten. */
  replace(unresolved: readonly Alert[]): void {
    const had = new Map(this.#all);
    this.#all.clear();
    for (const a of unresolved) {
      const old = had.get(a.alert_id); // lists have no handling: what was read of the same version stays
      this.#all.set(a.alert_id, old?.version === a.version ? old : a);
    }
    this.#changed = true;
    this.known.value = true;
    this.tick();
  }

  take(events: readonly AlertEvent[]): void {
    for (const { event: _, ...alert } of events) this.#put(alert);
    this.#changed = true;
  }

  /** Keeps an alert that was asked for, or that an answer brought: it is newer than what came before, or has its handling. */
  remember(a: Alert): void {
    this.#put(a);
    this.#changed = true;
    this.tick();
  }

  get(id: string): Alert | undefined {
    return this.#all.get(id);
  }

  /** Those that nobody looks after yet. */
  get openCount(): number {
    let n = 0;
    for (const a of this.#all.values()) if (a.status === "OPEN" && !snoozed(a, Date.now())) n++;
    return n;
  }

  /** The worst first, of each level those that nobody looks after first, and the oldest; the resolved ones last, newest first. */
  list(resolved: boolean): Alert[] {
    const items = [...this.#all.values()].filter((a) => resolved || a.status !== "RESOLVED");
    return items.sort(byUrgency);
  }

  tick(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.changes.value++;
  }

  #put(a: Alert): void {
    const old = this.#all.get(a.alert_id);
    if (old && (old.version > a.version || (old.version === a.version && old.handling.length >= a.handling.length))) return;
    this.#all.delete(a.alert_id);
    this.#all.set(a.alert_id, a);
    if (a.status !== "RESOLVED") return;
    const ended = [...this.#all.values()].filter((x) => x.status === "RESOLVED");
    if (ended.length > RESOLVED_KEPT) this.#all.delete(ended[0]!.alert_id);
  }
}

const ranks: Record<Alert["status"], number> = { OPEN: 0, ACKNOWLEDGED: 1, RESOLVED: 2 };

/** The order in which alerts want to be looked at. */
export function byUrgency(a: Alert, b: Alert): number {
  const ended = Number(a.status === "RESOLVED") - Number(b.status === "RESOLVED");
  if (ended !== 0) return ended;
  if (a.status === "RESOLVED") return (b.resolved_at ?? "") < (a.resolved_at ?? "") ? -1 : 1;
  if (a.level !== b.level) return a.level > b.level ? -1 : 1;
  if (a.status !== b.status) return ranks[a.status] - ranks[b.status];
  return a.opened_at < b.opened_at ? -1 : a.opened_at > b.opened_at ? 1 : a.alert_id < b.alert_id ? -1 : 1;
}

export function snoozed(a: Alert, now: number): boolean {
  return a.snoozed_until !== null && Date.parse(a.snoozed_until) > now;
}

/** 1 of L1 … */
export function levelOf(a: Alert): number {
  return Number(a.level.slice(1));
}

const causes: Record<Alert["cause"], string> = {
  congestion: "Congestion",
  robot_lost: "Robot lost",
  robot_stuck: "Robot stuck",
  robot_fault: "Robot fault",
  suspect: "Way blocked",
  low_battery: "Low battery",
  dead_letters: "Unsent facts",
  store_away: "Server away",
};

export function causeWord(a: Alert): string {
  return causes[a.cause] ?? a.cause;
}

const steps: Partial<Record<AlertEvent["event"], string>> = {
  open: "opened", reopen: "came back", raise: "raised", lower: "lowered", escalate: "called out again", acknowledge: "acknowledged", assign: "assigned", comment: "said", snooze: "silenced", wake: "no longer silenced",
  resolve: "resolved", rollback: "rolled back", mark: "judged", remedy: "acted", measure: "measured", undo: "undone",
};

type Step = Alert["handling"][number];

/** A step as a person reads it: "raised from L1 to L2". */
export function stepText(s: Step): string {
  const d = s.details;
  const parts = [steps[s.action] ?? s.action];
  if (s.action === "raise" || s.action === "lower") parts.push(`from ${d.from_level ?? "?"} to ${d.to_level ?? "?"}`);
  if (s.action === "assign") parts.push(d.assignee ? `to ${d.assignee.slice(0, 8)}` : "to nobody");
  if (s.action === "resolve" && d.resolution) parts.push(d.resolution === "cleared" ? "by itself" : `by a ${d.resolution}`);
  if (s.action === "mark") parts.push(d.mark ?? "not any more");
  if (d.taken_back?.length) parts.push(d.taken_back.join(", "));
  if (d.text) parts.push(`“${d.text}”`);
  return parts.join(" ");
}
