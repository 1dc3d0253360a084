import { signal } from "@preact/signals";
import type { Task, TaskEvent } from "starling-client";

/** Finished tasks that are kept, the newest. */
const FINISHED_KEPT = 2_000;

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
  readonly #open = new Map<string, Task>();
  readonly #finished = new Map<string, Task>(); // in the order in which they finished
  #changed = false;

  /** The open ones are these: the rest has finished, or is forgotten, meanwhile. */
  replace(open: readonly Task[]): void {
    this.#open.clear();
    for (const t of open) this.#put(t);
    this.#changed = true;
    this.tick();
  }

  take(events: readonly TaskEvent[]): void {
    for (const { event: _, ...task } of events) this.#put(task);
    this.#changed = true;
  }

  /** Keeps a task that was asked for. */
  remember(t: Task): void {
    const known = this.get(t.task_id);
    if (known && known.version >= t.version) return;
    this.#put(t);
    this.#changed = true;
    this.tick();
  }

  get(id: string): Task | undefined {
    return this.#open.get(id) ?? this.#finished.get(id);
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** All, the open ones first, each newest first. */
  list(): Task[] {
    const newest = (a: Task, b: Task): number => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : a.task_id < b.task_id ? 1 : -1);
    return [...[...this.#open.values()].sort(newest), ...[...this.#finished.values()].reverse()];
  }

  tick(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.changes.value++;
  }

  #put(t: Task): void {
    this.#finished.delete(t.task_id);
    if (!finished(t)) return void this.#open.set(t.task_id, t);
    this.#open.delete(t.task_id);
    this.#finished.set(t.task_id, t);
    for (const oldest of this.#finished.keys()) {
      if (this.#finished.size <= FINISHED_KEPT) break;
      this.#finished.delete(oldest);
    }
  }
}
