import { computed, signal } from "@preact/signals";
import { tenantId } from "./route.js";
import { Api, ApiError, type Me } from "starling-client";

/** Who looks at the page. */
export interface Session {
  token: string;
  tenant: string;
  me: Me;
  /** When the token ends, ms since 1970; NaN where it does not say. */
  expiresAt: number;
  /** The role asked of the development issuer; null where the token came from elsewhere. */
  developmentRole: string | null;
}

// For this tab alone: what is kept longer is stolen easier.
const KEPT = "starling.session";

export const session = signal<Session | null>(null);
/** True once the server has refused the token: the page stays as it is until there is a new one. */
export const expired = signal(false);
/** True while somebody gives another token though the one of now still holds. */
export const renewing = signal(false);
export const mayOperate = computed(() => session.value?.me.roles.some((r) => r === "operator" || r === "admin") ?? false);
export const mayAdminister = computed(() => session.value?.me.roles.includes("admin") ?? false);

const calls = {
  url: location.origin,
  token: () => session.value?.token ?? "",
  fetch: async (input: RequestInfo | URL, init?: RequestInit) => {
    const headers = new Headers(init?.headers);
    const tenant = session.value?.tenant ?? "";
    if (tenant !== "") headers.set("X-Tenant-ID", tenant);
    const answer = await fetch(input, { ...init, headers });
    // A late answer to the token before says nothing of the one of now.
    if (answer.status === 401 && session.value && headers.get("Authorization") === `Bearer ${session.value.token}`) expired.value = true;
    return answer;
  },
} satisfies ConstructorParameters<typeof Api>[0];

const POLL_MS = 8_000;

/** Calls with the token of now. */
export const api = new Api(calls);
/** Calls that are made again anyway: once, and not for long, so that they never stand in the way of what somebody pressed. */
export const polling = new Api({ ...calls, attempts: 1, timeoutMs: POLL_MS });

/** Takes up the session of this tab, or one that came with the link (`#token=…`, which no server sees). */
export async function resume(): Promise<void> {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given !== null) history.replaceState(null, "", location.pathname + location.search);
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null") as { token: string; tenant: string; developmentRole: string | null } | null;
  // Somebody else's link must not sign the one who is signed in here in as another.
  if (given !== null && (kept === null || kept.token === given || confirm("This link signs you in with another token. Use it?"))) return signIn(given);
  if (kept === null) return;
  try {
    await signIn(kept.token, kept.tenant, kept.developmentRole);
  } catch (e) {
    if (!(e instanceof ApiError && e.status === 401)) throw e;
    sessionStorage.removeItem(KEPT);
  }
}

/** Signs in with a token, or renews the one of the session. Throws ApiError where the server does not take it. */
export async function signIn(token: string, tenant = "", developmentRole: string | null = null): Promise<void> {
  const clean = token.trim();
  if (!/^[\x21-\x7e]+$/.test(clean)) throw new ApiError(401, { code: "UNAUTHENTICATED", message: "that is not a token" });
  const me = await new Api({ url: location.origin, token: () => clean, attempts: 1 }).get("/api/v1/me");
  const chosen = [tenantId.peek(), tenant, me.tenant_ids[0] ?? ""].find((t) => me.tenant_ids.includes(t)) ?? "";
  if (chosen === "") throw new ApiError(403, { code: "FORBIDDEN", message: "this token belongs to no tenant" });
  sessionStorage.setItem(KEPT, JSON.stringify({ token: clean, tenant: chosen, developmentRole }));
  tenantId.value = me.tenant_ids.length > 1 ? chosen : "";
  session.value = { token: clean, tenant: chosen, me, expiresAt: expiryOf(clean), developmentRole };
  expired.value = renewing.value = false;
}

/** Looks at another of the token's tenants. */
export function chooseTenant(tenant: string): void {
  const s = session.value;
  if (!s || !s.me.tenant_ids.includes(tenant)) return;
  sessionStorage.setItem(KEPT, JSON.stringify({ token: s.token, tenant, developmentRole: s.developmentRole }));
  tenantId.value = tenant;
  session.value = { ...s, tenant };
}

export function signOut(): void {
  sessionStorage.removeItem(KEPT);
  session.value = null;
  expired.value = renewing.value = false;
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
  await signIn(token, "", role);
}

/** Whether this server signs people in by itself, for development. */
export async function hasDevelopmentIssuer(): Promise<boolean> {
  try {
    const answer = await fetch("/.well-known/openid-configuration", { headers: { Accept: "application/json" } });
    if (!answer.ok || !(answer.headers.get("Content-Type") ?? "").includes("json")) return false;
    return ((await answer.json()) as { token_endpoint?: string }).token_endpoint?.endsWith("/dev/token") ?? false;
  } catch {
    return false;
  }
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
