// What the compiler must accept and refuse; running it only shows that it was compiled.
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket as NodeWebSocket } from "ws";
import { Api, Live, type ItemOf, type LiveOptions, type Robot, type Task } from "../../src/index.js";

export async function accepted(api: Api): Promise<void> {
  const me = await api.get("/api/v1/me");
  const roles: string[] = me.roles;
  const task: Task = await api.get("/api/v1/tasks/{task_id}", { path: { task_id: "t" } });
  await api.get("/api/v1/tasks", { query: { status: "CREATED", limit: 5 } });
  await api.create("/api/v1/tasks", { body: { task_type: "go_to", warehouse_id: "w", payload: { dropoff: "P" } }, key: "k" });
  const nothing: undefined = await api.delete("/api/v1/robots/{robot_id}", { path: { robot_id: "r" }, ifMatch: '"1"' });
  const cancelled: Task = await api.post("/api/v1/tasks/{task_id}/cancel", { path: { task_id: "t" } });
  const { headers, data } = await api.call("patch", "/api/v1/robots/{robot_id}", { path: { robot_id: "r" }, body: { priority: 1 } });
  for await (const robot of api.items("/api/v1/robots", { query: { warehouse_id: "w" } })) robot satisfies Robot;
  void [roles, task, nothing, cancelled, headers, data satisfies Robot];
}

export async function refused(api: Api): Promise<void> {
  // @ts-expect-error there is no such path
  await api.get("/api/v1/nothing");
  // @ts-expect-error the id is missing
  await api.get("/api/v1/tasks/{task_id}");
  // @ts-expect-error no such status
  await api.get("/api/v1/tasks", { query: { status: "DONE" } });
  // @ts-expect-error the body is missing
  await api.create("/api/v1/tasks", {});
  // @ts-expect-error cancelling creates nothing and takes no key
  await api.create("/api/v1/tasks/{task_id}/cancel", { path: { task_id: "t" } });
  // @ts-expect-error not a list
  api.items("/api/v1/me");
}

export const options = (): LiveOptions[] => [
  { url: "", token: () => "", WebSocket: NodeWebSocket },
  { url: "", token: async () => "", WebSocket },
];
export type Item = ItemOf<"/api/v1/tasks">;

test("the types are those of the OpenAPI document", () => {
  assert.equal(typeof Api, "function");
  assert.equal(typeof Live, "function");
});
