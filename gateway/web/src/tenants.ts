import { effect, signal } from "@preact/signals";
import { Api, ApiError, type Schemas } from "starling-client";
import { session } from "./session.js";

type Tenant = Schemas["Tenant"];

/** Whose names are asked for; who may see more looks at ids. */
const MOST = 20;

const named = signal<ReadonlyMap<string, Tenant>>(new Map());

/** A tenant as people call it; the beginning of its id until that is known. */
export function tenantName(id: string): string {
  return named.value.get(id)?.name ?? id.slice(0, 8);
}

/** Learns the names of the tenants that the one who is signed in may look at. */
export function followTenants(): () => void {
  return effect(() => {
    const s = session.value;
    if (!s) return void (named.value = new Map());
    const unknown = s.me.tenant_ids.slice(0, MOST).filter((id) => !named.peek().has(id));
    if (unknown.length > 0) void learn(unknown);
  });
}

async function learn(ids: string[]): Promise<void> {
  const found = await Promise.all(ids.map((tenant) => new Api({ url: location.origin, token: () => session.peek()?.token ?? "", tenant, attempts: 1 }).get("/api/v1/tenants/current").catch(nameless)));
  if (session.peek()) named.value = new Map([...named.peek(), ...found.flatMap((t): [string, Tenant][] => (t ? [[t.tenant_id, t]] : []))]);
}

// A tenant without a name, or a server that is away: the id does.
function nameless(e: unknown): null {
  if (!(e instanceof ApiError)) throw e;
  return null;
}
