import { signal } from "@preact/signals";
import type { Task, TaskEvent } from "starling-client";

/** Finished tasks that are kept, the newest. */
const FINISHED_KEPT = 2_000;
const BESIDE_KEPT = 50;

/** Whether nothing will happen to it any more. */
export function finished(t: Task): boolean {
  return t.status === "SUCCEEDED" || t.status === "FAILED" || t.status === "CANCELLED";
}

/**
 * The tasks of a warehouse: all open ones, and those that finished while the page was open. Told of each transition, shown at most
 * twice a second.
 */
export class Tasks {
  /** Rises when something has changed and `tick` was called. */
  readonly changes = signal(0);
  /** Whether the open ones are known. */
  readonly known = signal(false);
  readonly #open = new Map<string, Task>(); // in the order in which they were created
  readonly #finished = new Map<string, Task>(); // in the order in which they finished
  readonly #cancelling = new Map<string, string>(); // since when, RFC 3339
  readonly #beside = new Map<string, Task>(); // of other warehouses: nobody tells of their transitions
  #changed = false;

  /** The open ones are these: the rest has finished, or is forgotten, meanwhile. */
  replace(open: readonly Task[]): void {
    this.#open.clear();
    const still = new Set(open.map((t) => t.task_id));
    for (const id of this.#cancelling.keys()) if (!still.has(id)) this.#cancelling.delete(id);
    const oldest = [...open].sort((a, b) => (a.created_at < b.created_at ? -1 : a.created_at > b.created_at ? 1 : a.task_id < b.task_id ? -1 : 1));
    for (const t of oldest) this.#put(t);
    this.#changed = true;
    this.known.value = true;
    this.tick();
  }

  take(events: readonly TaskEvent[]): void {
    for (const { event: _, ...task } of events) this.#put(task);
    this.#changed = true;
  }

  /** Keeps a task that was asked for. `ours`: it is of this warehouse; another's is kept beside, and is in no list. */
  remember(t: Task, ours = true): void {
    if (!ours) {
      if (this.#beside.size >= BESIDE_KEPT) this.#beside.clear();
      this.#beside.set(t.task_id, t);
      this.changes.value++;
      return;
    }
    const known = this.get(t.task_id);
    if (known && known.version >= t.version) return;
    this.#put(t);
    this.#changed = true;
    this.tick();
  }

  /** Since when it is being cancelled, as far as this page has seen that; RFC 3339, null = unknown. */
  cancellingSince(id: string): string | null {
    return this.#cancelling.get(id) ?? null;
  }

  get(id: string): Task | undefined {
    return this.#open.get(id) ?? this.#finished.get(id) ?? this.#beside.get(id);
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** All, the open ones first, each newest first. */
  list(): Task[] {
    return [...[...this.#open.values()].reverse(), ...[...this.#finished.values()].reverse()];
  }

  tick(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.changes.value++;
  }

  #put(t: Task): void {
    this.#finished.delete(t.task_id);
    if (t.status !== "CANCELLING") this.#cancelling.delete(t.task_id);
    else if (!this.#cancelling.has(t.task_id)) this.#cancelling.set(t.task_id, new Date().toISOString());
    if (!finished(t)) return void this.#open.set(t.task_id, t);
    this.#open.delete(t.task_id);
    this.#finished.set(t.task_id, t);
    for (const oldest of this.#finished.keys()) {
      if (this.#finished.size <= FINISHED_KEPT) break;
      this.#finished.delete(oldest);
    }
  }
}
