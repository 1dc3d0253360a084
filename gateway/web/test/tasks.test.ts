import { expect, test } from "@playwright/test";
import type { Task, TaskEvent } from "starling-client";
import { Tasks } from "../src/tasks.js";

function task(n: number, status: Task["status"] = "CREATED", version = 1): Task {
  return {
    task_id: `t${String(n).padStart(6, "0")}`, tenant_id: "", warehouse_id: "", task_type: "go_to", status, source: "api", priority: 0, payload: {}, robot_id: null, fleet: null,
    earliest_start: null, deadline: null, progress: { errand: 0, of: 1 }, reason: null, version, created_at: new Date(n * 1000).toISOString(), assigned_at: null, started_at: null, finished_at: null,
  };
}
const event = (t: Task, name: TaskEvent["event"]): TaskEvent => ({ ...t, event: name });

test("open tasks come first, the newest first, then the finished ones, the last first", () => {
  const all = new Tasks();
  all.replace([task(1), task(3), task(2)]);
  all.take([event(task(3, "SUCCEEDED", 2), "succeeded"), event(task(1, "FAILED", 2), "failed"), event(task(4), "created")]);
  expect(all.list().map((t) => t.task_id.slice(-1))).toEqual(["4", "2", "1", "3"]);
  expect(all.openCount).toBe(2);
});

test("changes are told when ticked, once", () => {
  const all = new Tasks();
  const before = all.changes.value;
  all.take([event(task(1), "created"), event(task(2), "created")]);
  expect(all.changes.value).toBe(before);
  all.tick();
  all.tick();
  expect(all.changes.value).toBe(before + 1);
});

test("a snapshot replaces what was open and keeps what has finished", () => {
  const all = new Tasks();
  all.replace([task(1), task(2)]);
  all.take([event(task(1, "SUCCEEDED", 2), "succeeded")]);
  all.replace([task(5)]);
  expect(all.list().map((t) => t.task_id.slice(-1))).toEqual(["5", "1"]);
});

test("an older answer does not undo a newer event", () => {
  const all = new Tasks();
  all.take([event(task(1, "CANCELLED", 5), "cancelled")]);
  all.remember(task(1, "EXECUTING", 4));
  expect(all.get("t000001")?.status).toBe("CANCELLED");
});

test("finished tasks are kept up to a bound", () => {
  const all = new Tasks();
  for (let n = 0; n < 2500; n++) all.take([event(task(n, "SUCCEEDED"), "succeeded")]);
  expect(all.list().length).toBe(2000);
  expect(all.get("t000000")).toBeUndefined();
  expect(all.get("t002499")).toBeDefined();
});

test("a task of another warehouse is found and in no list", () => {
  const all = new Tasks();
  all.remember(task(7), false);
  expect(all.get("t000007")).toBeDefined();
  expect(all.list()).toEqual([]);
  expect(all.openCount).toBe(0);
});
