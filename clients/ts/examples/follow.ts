// Creates a task, follows it over the live channel to its end, prints each step, and leaves with 0 where it succeeded.
//
//   STARLING_URL=http://127.0.0.1:8080 STARLING_TOKEN=… STARLING_WAREHOUSE=… node build/examples/follow.js [PLACE [PLACE]]
//
// One place: a robot goes there. Two: a load is brought from the first to the second. None: a robot goes to where one stands,
// one without a task if there is any.
import { WebSocket } from "ws";
import { Api, Live, type NewTask, type Task, type TaskEvent } from "../src/index.js";

const over = ["SUCCEEDED", "FAILED", "CANCELLED"];

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    console.error(`${name} is not set`);
    process.exit(2);
  }
  return value;
}

async function wish(api: Api, warehouse_id: string, [from, to]: string[]): Promise<NewTask> {
  if (from !== undefined && to !== undefined) return { task_type: "transport", warehouse_id, priority: 9, payload: { pickup: from, dropoff: to } };
  if (from !== undefined) return { task_type: "go_to", warehouse_id, priority: 9, payload: { dropoff: from } };
  let dropoff: string | undefined;
  for await (const robot of api.items("/api/v1/robots", { query: { warehouse_id } })) {
    if (robot.vertex === null) continue;
    dropoff ??= robot.vertex;
    if (robot.task_id !== null) continue;
    dropoff = robot.vertex;
    break;
  }
  if (dropoff === undefined) throw new Error("no robot has said where it is: name a place");
  return { task_type: "go_to", warehouse_id, priority: 9, payload: { dropoff } };
}

async function main(places: string[]): Promise<number> {
  const url = setting("STARLING_URL");
  const token = (): string => setting("STARLING_TOKEN");
  const warehouse = setting("STARLING_WAREHOUSE");
  const api = new Api({ url, token });
  const live = new Live({ url, token, WebSocket });
  let mine = "";
  let early: TaskEvent[] = []; // what came before the answer to the creation said which task is ours
  let end: (t: Task) => void = () => {};
  const ended = new Promise<Task>((resolve) => (end = resolve));
  const tell = (e: TaskEvent): void => {
    if (e.task_id !== mine) return;
    console.log(`${e.event.padEnd(14)} ${e.status.padEnd(10)} ${e.progress.errand}/${e.progress.of}  robot ${e.robot_id ?? "-"}`);
    if (over.includes(e.status)) end(e);
  };

  // Subscribed before the task is there, so that none of its steps is missed. A snapshot comes first, and again should the
  // connection be away for longer than the server remembers: then the task is looked up, since finished ones are not in it.
  const ready = new Promise<void>((resolve, reject) => {
    live.tasks({ filter: { warehouse_id: warehouse } }, {
      snapshot: () => {
        resolve();
        if (mine !== "") void api.get("/api/v1/tasks/{task_id}", { path: { task_id: mine } }).then((t) => over.includes(t.status) && end(t));
      },
      events: (events) => (mine === "" ? early.push(...events) : events.forEach(tell)),
      error: reject,
    });
    live.onState((s) => s.phase === "closed" && reject(new Error(`the live channel is closed: ${s.reason}`)));
  });
  try {
    await ready;
    const task = await api.create("/api/v1/tasks", { body: await wish(api, warehouse, places) });
    mine = task.task_id;
    console.log(`task           ${task.task_id}`);
    early.forEach(tell);
    early = [];
    const last = await ended;
    console.log(`${last.status} after ${((Date.parse(last.finished_at ?? "") - Date.parse(last.created_at)) / 1000).toFixed(1)} s`);
    return last.status === "SUCCEEDED" ? 0 : 1;
  } finally {
    live.close();
  }
}

main(process.argv.slice(2)).then(
  (code) => (process.exitCode = code),
  (e: unknown) => {
    console.error(e instanceof Error ? e.message : e);
    process.exitCode = 1;
  },
);
