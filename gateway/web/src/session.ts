import { computed, signal } from "@preact/signals";
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
export const mayOperate = computed(() => session.value?.me.roles.some((r) => r === "operator" || r === "admin") ?? false);
export const mayAdminister = computed(() => session.value?.me.roles.includes("admin") ?? false);

/** Calls with the token of now. */
export const api = new Api({
  url: location.origin,
  token: () => session.value?.token ?? "",
  fetch: async (input, init) => {
    const headers = new Headers(init?.headers);
    const tenant = session.value?.tenant ?? "";
    if (tenant !== "") headers.set("X-Tenant-ID", tenant);
    const answer = await fetch(input, { ...init, headers });
    if (answer.status === 401 && session.value) expired.value = true;
    return answer;
  },
});

/** Takes up the session of this tab, or one that came with the link (`#token=…`, which no server sees). */
export async function resume(): Promise<void> {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    return signIn(given);
  }
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null") as { token: string; tenant: string; developmentRole: string | null } | null;
    if (kept) await signIn(kept.token, kept.tenant, kept.developmentRole);
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
  const chosen = tenant !== "" && me.tenant_ids.includes(tenant) ? tenant : (me.tenant_ids[0] ?? "");
  if (chosen === "") throw new ApiError(403, { code: "FORBIDDEN", message: "this token belongs to no tenant" });
  sessionStorage.setItem(KEPT, JSON.stringify({ token: clean, tenant: chosen, developmentRole }));
  session.value = { token: clean, tenant: chosen, me, expiresAt: expiryOf(clean), developmentRole };
  expired.value = false;
}

/** Looks at another of the token's tenants. */
export function chooseTenant(tenant: string): void {
  const s = session.value;
  if (!s || !s.me.tenant_ids.includes(tenant)) return;
  sessionStorage.setItem(KEPT, JSON.stringify({ token: s.token, tenant, developmentRole: s.developmentRole }));
  session.value = { ...s, tenant };
}

export function signOut(): void {
  sessionStorage.removeItem(KEPT);
  session.value = null;
  expired.value = false;
}

/** A token of the development issuer, which only `starling dev` has; null where there is none. */
export async function developmentSignIn(role: string): Promise<void> {
  const answer = await fetch("/dev/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ role, tenant_slug: "demo" }),
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
