import { backoffMs, sleep } from "./backoff.js";
import { ApiError, errorOf } from "./error.js";
import type { components, paths } from "./schema.js";

/** The bodies of the API by the names that the OpenAPI document gives them. */
export type Schemas = components["schemas"];
export type Task = Schemas["Task"];
export type NewTask = Schemas["NewTask"];
export type Robot = Schemas["Robot"];
export type Me = Schemas["Me"];
export type Why = Schemas["Why"];

type Method = "get" | "post" | "put" | "patch" | "delete";
type Operation = { parameters: { query?: unknown; header?: unknown; path?: unknown }; requestBody?: unknown; responses: unknown };
type OperationOf<P extends keyof paths, M extends Method> = Extract<paths[P][M], Operation>;

/** The paths that have method `M`. */
export type PathsWith<M extends Method> = { [P in keyof paths]: [OperationOf<P, M>] extends [never] ? never : P }[keyof paths];
/** The paths whose POST creates something and takes an `Idempotency-Key`. */
export type CreatingPaths = {
  [P in PathsWith<"post">]: "Idempotency-Key" extends keyof NonNullable<OperationOf<P, "post">["parameters"]["header"]> ? P : never;
}[PathsWith<"post">];
/** The paths whose GET answers with pages, `{items, next_cursor}`. */
export type ListPaths = { [P in PathsWith<"get">]: AnswerOf<P, "get"> extends { items: unknown[]; next_cursor: string | null } ? P : never }[PathsWith<"get">];

type JsonOf<R> = R extends { content: { "application/json": infer B } } ? B : never;
type BodyOf<P extends keyof paths, M extends Method> = JsonOf<NonNullable<OperationOf<P, M>["requestBody"]>>;
type Responses<P extends keyof paths, M extends Method> = OperationOf<P, M>["responses"];
/** What a call answers with: the body of 200, 201 or 202, `undefined` for 204. */
export type AnswerOf<P extends keyof paths, M extends Method> = 204 extends keyof Responses<P, M>
  ? undefined
  : { [S in keyof Responses<P, M>]: S extends 200 | 201 | 202 ? JsonOf<Responses<P, M>[S]> : never }[keyof Responses<P, M>];

type Param<P extends keyof paths, M extends Method, K extends "path" | "query"> = Exclude<OperationOf<P, M>["parameters"][K], undefined>;
type PathPart<P extends keyof paths, M extends Method> = [Param<P, M, "path">] extends [never] ? { path?: never } : { path: Param<P, M, "path"> };
type QueryPart<P extends keyof paths, M extends Method> = [Param<P, M, "query">] extends [never]
  ? { query?: never }
  : undefined extends OperationOf<P, M>["parameters"]["query"]
    ? { query?: Param<P, M, "query"> }
    : { query: Param<P, M, "query"> };
type BodyPart<P extends keyof paths, M extends Method> = [BodyOf<P, M>] extends [never]
  ? { body?: never }
  : undefined extends OperationOf<P, M>["requestBody"]
    ? { body?: BodyOf<P, M> }
    : { body: BodyOf<P, M> };

/** What every call takes beside its own parameters. */
export interface CallOptions {
  /** Ends the call, and its retries, with the signal's reason. */
  signal?: AbortSignal;
  /** ETag of what the caller saw: refused with 412 where it has changed since. */
  ifMatch?: string;
  /** X-Request-ID, `[A-Za-z0-9._-]{1,128}`: names the call in the server's log. */
  requestId?: string;
}
export type Options<P extends keyof paths, M extends Method> = PathPart<P, M> & QueryPart<P, M> & BodyPart<P, M> & CallOptions;
type Args<O> = Record<string, never> extends O ? [options?: O] : object extends O ? [options?: O] : [options: O];

/** An answer with what stands beside its body. */
export interface Answer<T> {
  data: T;
  status: number;
  headers: Headers;
}

export interface ApiOptions {
  /** http(s) base, with or without a path: `http://127.0.0.1:8080`. In a browser `location.origin`. */
  url: string;
  /** The bearer token of now; asked before each request. */
  token: () => string | Promise<string>;
  /** Tenant id; needed where the token names several. */
  tenant?: string;
  /** The time one attempt may take, ms; default 30,000. */
  timeoutMs?: number;
  /** Attempts of calls that may be repeated (GET, and creating calls with a key); default 4. */
  attempts?: number;
  /** The window of the first wait between attempts, ms; doubles up to 20 times itself; default 250. */
  retryFirstMs?: number;
  /** Retry-After is honoured up to this, ms; a longer one ends the call with the error; default 30,000. */
  retryMostMs?: number;
  fetch?: typeof fetch;
}

interface Loose {
  path?: Record<string, unknown>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal;
  ifMatch?: string;
  requestId?: string;
}

/**
 * Typed calls of the REST API. Paths, parameters and bodies are those of the OpenAPI document; failures are {@link ApiError}.
 * GET and {@link create} are repeated, with growing jittered waits, on network errors, 429 and 503; nothing else is.
 */
export class Api {
  readonly #o: ApiOptions;
  readonly #fetch: typeof fetch;

  constructor(o: ApiOptions) {
    this.#o = o;
    this.#fetch = o.fetch ?? ((...a) => fetch(...a));
  }

  async get<P extends PathsWith<"get">>(path: P, ...[o]: Args<Options<P, "get">>): Promise<AnswerOf<P, "get">> {
    return (await this.#repeat("get", path, (o ?? {}) as Loose)).data as AnswerOf<P, "get">;
  }

  /** A POST that is sent once. For what creates something use {@link create}. */
  async post<P extends PathsWith<"post">>(path: P, ...[o]: Args<Options<P, "post">>): Promise<AnswerOf<P, "post">> {
    return (await this.#once("post", path, (o ?? {}) as Loose)).data as AnswerOf<P, "post">;
  }

  async put<P extends PathsWith<"put">>(path: P, ...[o]: Args<Options<P, "put">>): Promise<AnswerOf<P, "put">> {
    return (await this.#once("put", path, (o ?? {}) as Loose)).data as AnswerOf<P, "put">;
  }

  async patch<P extends PathsWith<"patch">>(path: P, ...[o]: Args<Options<P, "patch">>): Promise<AnswerOf<P, "patch">> {
    return (await this.#once("patch", path, (o ?? {}) as Loose)).data as AnswerOf<P, "patch">;
  }

  async delete<P extends PathsWith<"delete">>(path: P, ...[o]: Args<Options<P, "delete">>): Promise<AnswerOf<P, "delete">> {
    return (await this.#once("delete", path, (o ?? {}) as Loose)).data as AnswerOf<P, "delete">;
  }

  /**
   * A POST that creates, with an `Idempotency-Key`: however often it is repeated, here or by the caller with the same `key`, one
   * thing is made and each call gets the first answer. Without `key` a random one is made for this call.
   */
  async create<P extends CreatingPaths>(path: P, o: Options<P, "post"> & { key?: string }): Promise<AnswerOf<P, "post">> {
    return (await this.#repeat("post", path, o as Loose, { "Idempotency-Key": o.key ?? newKey() })).data as AnswerOf<P, "post">;
  }

  /** Any call once, with status and headers (ETag, Location, Idempotent-Replayed) beside the body. */
  async call<M extends Method, P extends PathsWith<M>>(method: M, path: P, ...[o]: Args<Options<P, M>>): Promise<Answer<AnswerOf<P, M>>> {
    return (await this.#once(method, path, (o ?? {}) as Loose)) as Answer<AnswerOf<P, M>>;
  }

  /** Every item of a list, page after page as they are needed. `query.limit` is the size of a page (1..500). */
  async *items<P extends ListPaths>(path: P, ...[o]: Args<Options<P, "get">>): AsyncGenerator<ItemOf<P>, void, undefined> {
    const options = (o ?? {}) as Loose;
    let cursor: string | null = null;
    do {
      const query: Record<string, unknown> = cursor === null ? { ...options.query } : { ...options.query, cursor };
      const page = (await this.#repeat("get", path, { ...options, query })).data as { items: ItemOf<P>[]; next_cursor: string | null };
      yield* page.items;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  async #repeat(method: Method, path: string, o: Loose, headers: Record<string, string> = {}): Promise<Answer<unknown>> {
    const { attempts = 4, retryFirstMs = 250, retryMostMs = 30_000 } = this.#o;
    for (let n = 0; ; n++) {
      try {
        return await this.#once(method, path, o, headers);
      } catch (e) {
        if (!(e instanceof ApiError) || ![0, 429, 503].includes(e.status) || n + 1 >= attempts) throw e;
        const asked = e.retryAfterMs ?? 0;
        if (asked > retryMostMs) throw e;
        // The jitter comes on top of what the server asked for, or all that it turned away would be back in the same moment.
        await sleep(asked + backoffMs(n, retryFirstMs, 20 * retryFirstMs), o.signal ?? null);
      }
    }
  }

  async #once(method: Method, path: string, o: Loose, more: Record<string, string> = {}): Promise<Answer<unknown>> {
    const headers: Record<string, string> = { Accept: "application/json", ...more };
    headers["Authorization"] = `Bearer ${await this.#o.token()}`;
    if (this.#o.tenant !== undefined) headers["X-Tenant-ID"] = this.#o.tenant;
    if (o.ifMatch !== undefined) headers["If-Match"] = o.ifMatch;
    if (o.requestId !== undefined) headers["X-Request-ID"] = o.requestId;
    const request: RequestInit = { method: method.toUpperCase(), headers };
    if (o.body !== undefined) {
      headers["Content-Type"] = "application/json";
      request.body = JSON.stringify(o.body);
    }
    const limit = AbortSignal.timeout(this.#o.timeoutMs ?? 30_000);
    request.signal = o.signal ? AbortSignal.any([o.signal, limit]) : limit;
    try {
      const answer = await this.#fetch(this.#url(path, o), request);
      if (!answer.ok) throw await errorOf(answer);
      const text = await answer.text();
      return { data: text === "" ? undefined : parsed(text, answer.status), status: answer.status, headers: answer.headers };
    } catch (e) {
      if (e instanceof ApiError) throw e;
      if (o.signal?.aborted) throw o.signal.reason;
      const what = limit.aborted ? "no answer in time" : "the server could not be reached";
      throw new ApiError(0, { code: "NETWORK", message: what }, undefined, e);
    }
  }

  #url(path: string, o: Loose): string {
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(o.path?.[name])));
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(o.query ?? {})) {
      if (value !== undefined && value !== null) query.set(name, Array.isArray(value) ? value.join(",") : String(value));
    }
    const text = query.toString();
    return this.#o.url.replace(/\/+$/, "") + filled + (text === "" ? "" : `?${text}`);
  }
}

function parsed(text: string, status: number): unknown {
  try {
    return JSON.parse(text);
  } catch (e) {
    throw new ApiError(status, { code: "NOT_JSON", message: "the answer is no JSON: is the address that of a Starling?" }, undefined, e);
  }
}

/** What a list is made of. */
export type ItemOf<P extends ListPaths> = AnswerOf<P, "get"> extends { items: (infer T)[] } ? T : never;

/** A key for `Idempotency-Key`: a random UUID. (`crypto.randomUUID` is missing on pages that were not served by HTTPS.) */
export function newKey(): string {
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6]! & 0x0f) | 0x40;
  b[8] = (b[8]! & 0x3f) | 0x80;
  const hex = Array.from(b, (v) => v.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
