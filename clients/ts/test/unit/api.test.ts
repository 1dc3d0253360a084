import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { Api, ApiError, newKey, type ApiOptions } from "../../src/index.js";

interface Seen {
  line: string;
  headers: IncomingMessage["headers"];
  body: string;
  at: number;
}
type Answer = (a: ServerResponse, seen: Seen) => void;

/** A server that gives the answers of a list, the last one for ever. */
async function scripted(t: TestContext, answers: Answer[], o: Partial<ApiOptions> = {}): Promise<{ api: Api; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer(async (q, a) => {
    let body = "";
    for await (const chunk of q) body += chunk;
    const s = { line: `${q.method} ${q.url}`, headers: q.headers, body, at: performance.now() };
    answers[Math.min(seen.push(s), answers.length) - 1]!(a, s);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), server.close()));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { api: new Api({ url: url + "/", token: async () => "tok", retryFirstMs: 5, ...o }), seen };
}

const json = (status: number, body: unknown, headers: Record<string, string> = {}): Answer => (a) =>
  void a.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
const failure = (status: number, code: string, headers: Record<string, string> = {}): Answer =>
  json(status, { error: { code, message: "m", request_id: "q1", details: {} } }, headers);
const hangUp: Answer = (a) => void a.socket!.destroy();
const task = { task_type: "go_to", warehouse_id: "w", payload: { dropoff: "P" } } as const;

test("token, tenant, path, query and body go where they belong", async (t) => {
  const { api, seen } = await scripted(t, [json(200, { version: 3 })], { tenant: "t1" });
  await api.get("/api/v1/tasks", { query: { status: "CREATED", limit: 7, cursor: "a b&c" }, requestId: "mine" });
  await api.patch("/api/v1/robots/{robot_id}", { path: { robot_id: "a/b" }, body: { priority: 4 }, ifMatch: '"3"' });
  assert.equal(seen[0]!.line, "GET /api/v1/tasks?status=CREATED&limit=7&cursor=a+b%26c");
  assert.equal(seen[0]!.headers.authorization, "Bearer tok");
  assert.equal(seen[0]!.headers["x-tenant-id"], "t1");
  assert.equal(seen[0]!.headers["x-request-id"], "mine");
  assert.equal(seen[1]!.line, "PATCH /api/v1/robots/a%2Fb");
  assert.equal(seen[1]!.headers["if-match"], '"3"');
  assert.equal(seen[1]!.headers["content-type"], "application/json");
  assert.equal(seen[1]!.body, '{"priority":4}');
});

test("an error tells status, code, message, request and every fault", async (t) => {
  const fields = [{ field: "body.priority", problem: "expected number <= 9" }, { field: "body.payload", problem: "required" }];
  const { api, seen } = await scripted(t, [json(422, { error: { code: "INVALID_ARGUMENT", message: "m", request_id: "q7", details: { fields } } })]);
  const e = await api.create("/api/v1/tasks", { body: task }).then(() => assert.fail(), (x: unknown) => x);
  assert.ok(e instanceof ApiError);
  assert.deepEqual([e.status, e.code, e.message, e.requestId, e.fields], [422, "INVALID_ARGUMENT", "m", "q7", fields]);
  assert.equal(seen.length, 1, "a request that is wrong is not repeated");
});

test("an error body that is not ours is told by its status", async (t) => {
  const { api } = await scripted(t, [(a) => void a.writeHead(502, { "X-Request-ID": "q9" }).end("<html>bad gateway</html>")]);
  await assert.rejects(api.get("/api/v1/me"), { status: 502, code: "HTTP_502", requestId: "q9" });
});

test("a page in place of an answer is told as such", async (t) => {
  const { api, seen } = await scripted(t, [(a) => void a.end("<html>welcome</html>")]);
  await assert.rejects(api.get("/api/v1/me"), { status: 200, code: "NOT_JSON" });
  assert.equal(seen.length, 1);
});

test("creating is repeated with the same key and body until there is an answer", async (t) => {
  const { api, seen } = await scripted(t, [hangUp, failure(503, "UNAVAILABLE"), failure(429, "RESOURCE_EXHAUSTED"), json(201, { task_id: "t" })]);
  assert.equal((await api.create("/api/v1/tasks", { body: task })).task_id, "t");
  assert.equal(seen.length, 4);
  assert.equal(new Set(seen.map((s) => s.headers["idempotency-key"])).size, 1);
  assert.match(String(seen[0]!.headers["idempotency-key"]), /^[0-9a-f-]{36}$/);
  assert.equal(new Set(seen.map((s) => s.body)).size, 1);
});

test("the caller's own key is used, and keys are not shared between calls", async (t) => {
  const { api, seen } = await scripted(t, [json(201, {})]);
  await api.create("/api/v1/tasks", { body: task, key: "order 66" });
  await api.create("/api/v1/tasks", { body: task });
  await api.create("/api/v1/tasks", { body: task });
  const keys = seen.map((s) => s.headers["idempotency-key"]);
  assert.equal(keys[0], "order 66");
  assert.notEqual(keys[1], keys[2]);
  assert.match(newKey(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("attempts are bounded, and Retry-After is honoured", async (t) => {
  const { api, seen } = await scripted(t, [failure(503, "UNAVAILABLE", { "Retry-After": "0.1" })], { attempts: 3 });
  await assert.rejects(api.get("/api/v1/me"), { status: 503, code: "UNAVAILABLE", retryAfterMs: 100 });
  assert.equal(seen.length, 3);
  assert.ok(seen[2]!.at - seen[0]!.at >= 199, "waited twice");
});

test("a Retry-After that is too long is left to the caller", async (t) => {
  const { api, seen } = await scripted(t, [failure(429, "RESOURCE_EXHAUSTED", { "Retry-After": new Date(Date.now() + 90_000).toUTCString() })]);
  const e = await api.get("/api/v1/me").then(() => assert.fail(), (x: ApiError) => x);
  assert.ok(e.retryAfterMs! > 80_000 && e.retryAfterMs! <= 90_000);
  assert.equal(seen.length, 1);
});

test("what must not be repeated is sent once", async (t) => {
  const { api, seen } = await scripted(t, [failure(503, "UNAVAILABLE"), failure(409, "CONFLICT"), hangUp]);
  await assert.rejects(api.post("/api/v1/tasks/{task_id}/cancel", { path: { task_id: "t" } }), { code: "UNAVAILABLE" });
  await assert.rejects(api.create("/api/v1/tasks", { body: task }), { code: "CONFLICT" });
  await assert.rejects(api.delete("/api/v1/zones/{zone_id}", { path: { zone_id: "z" } }), { status: 0, code: "NETWORK" });
  assert.equal(seen.length, 3);
});

test("an answer that does not come is given up", async (t) => {
  const { api } = await scripted(t, [() => {}], { timeoutMs: 40, attempts: 1 });
  await assert.rejects(api.get("/api/v1/me"), { code: "NETWORK", message: "no answer in time" });
});

test("the caller can end a call, also between attempts", async (t) => {
  const { api, seen } = await scripted(t, [failure(503, "UNAVAILABLE", { "Retry-After": "20" })]);
  const signal = AbortSignal.timeout(300);
  await assert.rejects(api.get("/api/v1/me", { signal }), { name: "TimeoutError" });
  assert.equal(seen.length, 1);
  await assert.rejects(api.get("/api/v1/me", { signal }), { name: "TimeoutError" });
});

test("a list is read page after page, as far as it is wanted", async (t) => {
  const pages = [["a", "b"], [], ["c"]];
  const { api, seen } = await scripted(
    t,
    pages.map((p, i) => json(200, { items: p.map((task_id) => ({ task_id })), next_cursor: i === 2 ? null : `c${i}` })),
  );
  const ids: string[] = [];
  for await (const x of api.items("/api/v1/tasks", { query: { limit: 2 } })) ids.push(x.task_id);
  assert.deepEqual(ids, ["a", "b", "c"]);
  assert.deepEqual(seen.map((s) => s.line.split("?")[1]), ["limit=2", "limit=2&cursor=c0", "limit=2&cursor=c1"]);
  seen.length = 0;
  for await (const _ of api.items("/api/v1/tasks")) break;
  assert.equal(seen.length, 1);
});

test("no content is no body; headers and status are there for who asks", async (t) => {
  const { api } = await scripted(t, [(a) => void a.writeHead(204).end(), json(201, { task_id: "t" }, { Location: "/x", "Idempotent-Replayed": "true" })]);
  assert.equal(await api.delete("/api/v1/zones/{zone_id}", { path: { zone_id: "z" } }), undefined);
  const { status, headers, data } = await api.call("post", "/api/v1/tasks", { body: task });
  assert.deepEqual([status, headers.get("Location"), headers.get("Idempotent-Replayed"), data.task_id], [201, "/x", "true", "t"]);
});
