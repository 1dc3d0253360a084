import { computed, signal } from "@preact/signals";
import { tenantId } from "./route.js";
import { Api, ApiError, type Me } from "starling-client";
import type { Grant, Issuer } from "./oidc.js";

/** Who looks at the page. */
export interface Session {
  token: string;
  tenant: string;
  me: Me;
  /** When the token ends, ms since 1970; NaN where it does not say. */
  expiresAt: number;
  /** The role asked of the development issuer; null where the token came from elsewhere. */
  developmentRole: string | null;
  /** What the issuer gave where somebody signed in at one; null where the token came otherwise. */
  grant: Grant | null;
}

/** Where people sign in, as the server says. */
export interface Doors {
  mode: "dev" | "oidc";
  issuers: readonly Issuer[];
  /** How far this machine's clock is behind the server's, ms. */
  skewMs: number;
}

type Kept = Pick<Session, "token" | "tenant" | "developmentRole" | "grant">;

// For this tab alone: what is kept longer is stolen easier.
const KEPT = "starling.session";

export const session = signal<Session | null>(null);
/** True once the server has refused the token: the page stays as it is until there is a new one. */
export const expired = signal(false);
/** True while somebody gives another token though the one of now still holds. */
export const renewing = signal(false);
/** The token that the server has refused, while its issuer is asked for another. */
export const refused = signal("");
/** Why the sign-in is not renewed: its issuer does not answer, or has ended it; null = all is well. */
export const renewal = signal<{ kind: "away" | "ended"; text: string } | null>(null);
export const mayOperate = computed(() => session.value?.me.roles.some((r) => r === "operator" || r === "admin") ?? false);
export const mayAdminister = computed(() => session.value?.me.roles.includes("admin") ?? false);

/** How calls are made as the one who is signed in. */
export const calls = {
  url: location.origin,
  token: () => session.value?.token ?? "",
  fetch: async (input: RequestInfo | URL, init?: RequestInit) => {
    const headers = new Headers(init?.headers);
    const tenant = session.value?.tenant ?? "";
    if (tenant !== "") headers.set("X-Tenant-ID", tenant);
    const answer = await fetch(input, { ...init, headers });
    // A late answer to the token before says nothing of the one of now.
    if (answer.status === 401 && session.value && headers.get("Authorization") === `Bearer ${session.value.token}`) refuse();
    return answer;
  },
} satisfies ConstructorParameters<typeof Api>[0];

const POLL_MS = 8_000;

/** Calls with the token of now. */
export const api = new Api(calls);
/** Calls that are made again anyway: once, and not for long, so that they never stand in the way of what somebody pressed. */
export const polling = new Api({ ...calls, attempts: 1, timeoutMs: POLL_MS });

/** The server does not take the token of now. Its issuer may give another; else somebody has to sign in again. */
export function refuse(): void {
  const s = session.peek();
  if (!s) return;
  if (!s.grant?.refreshToken || renewal.peek() !== null) expired.value = true;
  else refused.value = s.token;
}

/** What this tab keeps of its session. */
export function kept(): Kept | null {
  return JSON.parse(sessionStorage.getItem(KEPT) ?? "null") as Kept | null;
}

function keep(s: Session): void {
  const { token, tenant, developmentRole, grant } = s;
  sessionStorage.setItem(KEPT, JSON.stringify({ token, tenant, developmentRole, grant } satisfies Kept));
}

/** Takes up the session of this tab, or one that came with the link (`#token=…`, which no server sees). */
export async function resume(): Promise<void> {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given !== null) history.replaceState(null, "", location.pathname + location.search);
  const before = kept();
  // Somebody else's link must not sign the one who is signed in here in as another.
  if (given !== null && (before === null || before.token === given || confirm("This link signs you in with another token. Use it?"))) return signIn(given);
  if (before === null) return;
  try {
    await signIn(before.token, before);
  } catch (e) {
    if (!(e instanceof ApiError && e.status === 401)) throw e;
    sessionStorage.removeItem(KEPT);
  }
}

/** Signs in with a token, or renews the one of the session. Throws ApiError where the server does not take it. */
export async function signIn(token: string, o: Partial<Omit<Kept, "token">> = {}): Promise<void> {
  const clean = token.trim();
  if (!/^[\x21-\x7e]+$/.test(clean)) throw new ApiError(401, { code: "UNAUTHENTICATED", message: "that is not a token" });
  const me = await new Api({ url: location.origin, token: () => clean, attempts: 1 }).get("/api/v1/me");
  const chosen = [tenantId.peek(), o.tenant, me.tenant_ids[0]].find((t) => t !== undefined && me.tenant_ids.includes(t)) ?? "";
  if (chosen === "") throw new ApiError(403, { code: "FORBIDDEN", message: "whoever signed in belongs to no tenant" });
  tenantId.value = me.tenant_ids.length > 1 ? chosen : "";
  put({ token: clean, tenant: chosen, me, expiresAt: expiryOf(clean), developmentRole: o.developmentRole ?? null, grant: o.grant ?? null });
  expired.value = renewing.value = false;
  renewal.value = null;
}

/** Goes on with what the issuer gave for the token of now, at once: the one before is used up. */
export function renewed(grant: Grant): void {
  const s = session.peek();
  if (s) put({ ...s, token: grant.accessToken, expiresAt: expiryOf(grant.accessToken), grant });
}

function put(s: Session): void {
  keep(s);
  session.value = s;
}

/** Looks at another of the token's tenants. */
export function chooseTenant(tenant: string): void {
  const s = session.value;
  if (!s || !s.me.tenant_ids.includes(tenant)) return;
  tenantId.value = tenant;
  put({ ...s, tenant });
}

/** Forgets the session of this tab. Its issuer is not told: that is `leave`. */
export function signOut(): void {
  sessionStorage.removeItem(KEPT);
  session.value = null;
  expired.value = renewing.value = false;
  renewal.value = null;
}

/** Signs in with a token of the development issuer, which only `starling dev` has. Throws ApiError. */
export async function developmentSignIn(role: string): Promise<void> {
  const answer = await fetch("/dev/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ role, tenant_slug: "demo" }),
  }).catch((e: unknown) => {
    throw new ApiError(0, { code: "NETWORK", message: "the server could not be reached" }, undefined, e);
  });
  if (!answer.ok) throw new ApiError(answer.status, { message: "the development issuer gave no token" });
  const { access_token: token } = (await answer.json()) as { access_token: string };
  await signIn(token, { developmentRole: role });
}

/** Asks the server where people sign in. Throws ApiError. */
export async function readDoors(): Promise<Doors> {
  const answer = await fetch("/session.json", { signal: AbortSignal.timeout(POLL_MS) }).catch((e: unknown) => {
    throw new ApiError(0, { code: "NETWORK", message: "the server could not be reached" }, undefined, e);
  });
  if (!answer.ok) throw new ApiError(answer.status, { message: "the server does not say where to sign in" });
  const at = Date.parse(answer.headers.get("Date") ?? "");
  const { mode, issuers } = (await answer.json()) as Omit<Doors, "skewMs">;
  return { mode, issuers, skewMs: Number.isFinite(at) ? at - Date.now() : 0 };
}

function expiryOf(token: string): number {
  try {
    const payload = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const { exp } = JSON.parse(atob(payload)) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1000 : NaN;
  } catch {
    return NaN;
  }
}
