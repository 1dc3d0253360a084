// What the tests against the real program share.
import { WebSocket } from "ws";
import { Api, Live, type LiveOptions, type Task, type TaskEvent } from "../../src/index.js";
import type { Starling } from "./server.js";

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `f` holds. */
export async function until(what: string, f: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  for (const end = Date.now() + ms; !(await f()); await pause(10)) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
  }
}

export function caller(server: Starling): Api {
  return new Api({ url: server.ready.url, token: () => server.ready.token });
}

/** A live channel to the server, or to what stands before it, that waits less long than people have to. */
export function connect(server: Starling, o: Partial<LiveOptions> = {}): Live {
  const timing = { backoffFirstMs: 50, backoffMostMs: 500, steadyMs: 500 };
  return new Live({ url: server.ready.url, token: () => server.ready.token, WebSocket, timing, ...o });
}

/** What a follower of the tasks was told. */
export interface Log {
  /** Since the last snapshot. */
  events: TaskEvent[];
  snapshots: Task[][];
  /** The open tasks as it knows them. */
  open: Map<string, Task>;
}

export const over = ["SUCCEEDED", "FAILED", "CANCELLED"];

/** Follows the tasks of the warehouse and keeps them as a page does. */
export function follow(live: Live, server: Starling): Log {
  const log: Log = { events: [], snapshots: [], open: new Map() };
  live.tasks({ filter: { warehouse_id: server.ready.warehouse_id } }, {
    snapshot: (tasks) => {
      log.snapshots.push(tasks);
      log.events = [];
      log.open = new Map(tasks.map((t) => [t.task_id, t]));
    },
    events: (events) => {
      for (const e of events) {
        log.events.push(e);
        if (over.includes(e.status)) log.open.delete(e.task_id);
        else log.open.set(e.task_id, e);
      }
    },
  });
  return log;
}

/** `<task> <event> <version>` of each. */
export const lines = (events: TaskEvent[]): string[] => events.map((e) => `${e.task_id} ${e.event} ${e.version}`);

/** A place that robots can go to: where one stands that has nothing to do. */
export async function aPlace(api: Api): Promise<string> {
  for await (const r of api.items("/api/v1/robots")) if (r.vertex !== null && r.task_id === null) return r.vertex;
  throw new Error("no robot is free");
}

/** The recorded transitions of a task, the oldest first. */
export async function recorded(api: Api, task_id: string): Promise<string[]> {
  const types: string[] = [];
  for await (const e of api.items("/api/v1/tasks/{task_id}/events", { path: { task_id } })) types.push(e.event_type);
  return types;
}
