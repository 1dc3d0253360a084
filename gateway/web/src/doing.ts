import { signal } from "@preact/signals";
import { ApiError, type Schemas } from "starling-client";
import { api, polling } from "./session.js";

/** What was just done, or could not be done. */
export interface Notice {
  id: number;
  kind: "done" | "failed" | "info";
  text: string;
  /** Names the request in the server's log. */
  requestId: string;
}

const SHOWN_MS = 8_000;
const MOST = 4;
let last = 0;

/** The newest notices, at most four. They go by themselves; failures stay until they are taken away. */
export const notices = signal<readonly Notice[]>([]);

export function notify(kind: Notice["kind"], text: string, requestId = ""): void {
  const id = ++last;
  notices.value = [...notices.value.filter((n) => n.text !== text), { id, kind, text, requestId }].slice(-MOST);
  if (kind !== "failed") setTimeout(() => dismiss(id), SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((n) => n.id !== id);
}

/** Runs what a person pressed; says what became of it. Gives what came back, undefined where it failed. */
export async function attempt<T>(what: string, act: () => Promise<T>): Promise<T | undefined> {
  try {
    const out = await act();
    notify("done", what);
    return out;
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    notify("failed", `${what}: ${faultText(e)}`, e.requestId);
    return undefined;
  }
}

/** An error as a person reads it. */
export function faultText(e: ApiError): string {
  if (e.fields.length > 0) return e.fields.map((f) => `${f.field.replace(/^(body|query|path)\./, "").replace(/^payload\./, "")} ${f.problem}`).join("; ");
  if (e.status === 0) return "the server cannot be reached";
  return e.message;
}

/** Does what a cause's remedy says: its method, path and body come from the server. Gives why it was not done; "" = it was. */
export async function remedy(r: NonNullable<Schemas["Remedy"]>): Promise<string> {
  const robot = /^\/api\/v1\/robots\/([^/]+)\/commands$/.exec(r.path)?.[1];
  if (robot !== undefined && r.body) return command(robot, r.label, r.body as Schemas["NewCommand"]);
  // The path is a filled one, so the types of the document do not know it.
  const call = api.call.bind(api) as unknown as (m: string, p: string, o: object) => Promise<unknown>;
  try {
    await call(r.method.toLowerCase(), r.path, r.body ? { body: r.body } : {});
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    return failed(r.label, faultText(e), e.requestId);
  }
  notify("done", r.label);
  return "";
}

function failed(what: string, why: string, requestId = ""): string {
  notify("failed", `${what}: ${why}`, requestId);
  return why;
}

const STAGE_MS = 300;
const STAGE_TRIES = 120;

/** Sends a robot a command and waits until it is known what became of it; gives why it was not done, "" = it was. `what`: as people call it. */
export async function command(robotId: string, what: string, body: Schemas["NewCommand"]): Promise<string> {
  let id: string;
  try {
    id = (await api.create("/api/v1/robots/{robot_id}/commands", { path: { robot_id: robotId }, body })).command_id;
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    return failed(what, faultText(e), e.requestId);
  }
  for (let i = 0; i < STAGE_TRIES; i++) {
    const c = await polling.get("/api/v1/robots/{robot_id}/commands/{command_id}", { path: { robot_id: robotId, command_id: id } }).catch(() => null);
    const stage = c?.stages[c.stages.length - 1]?.stage;
    if (stage === "done") {
      notify("done", what);
      return "";
    }
    if (stage === "failed" || stage === "expired") return failed(what, `${stage}${c?.reason ? `, ${c.reason}` : ""}`);
    await new Promise((r) => setTimeout(r, STAGE_MS));
  }
  notify("info", `${what}: sent, outcome unknown`);
  return "it was sent, its outcome is not known";
}
