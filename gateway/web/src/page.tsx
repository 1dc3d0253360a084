import { effect, signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext, useEffect } from "preact/hooks";
import { ApiError } from "starling-client";
import { api, developmentSignIn, expired, session } from "./session.js";
import { SignInError } from "./oidc.js";
import { arrival, followSignIn, start } from "./signin.js";
import { faultText } from "./doing.js";
import { followAddress, forget, warehouseCode } from "./route.js";
import { followTenants } from "./tenants.js";
import { Clock } from "./time.js";
import { Watch, type Warehouse } from "./watch.js";
import { Desk } from "./panels/desk.js";
import { Expired, leaving, Login } from "./panels/login.js";
import { Notices } from "./panels/notices.js";
import { draft } from "./draft.js";
import { openFiles, playerShown } from "./playback.js";
import { Player } from "./panels/player.js";

const Watched = createContext<{ watch: Watch; clock: Clock } | null>(null);

/** The warehouse that is looked at, and its clock. */
export function useWatch(): { watch: Watch; clock: Clock } {
  return useContext(Watched)!;
}

/** All warehouses of the tenant; null = not known yet. */
export const warehouses = signal<Warehouse[] | null>(null);
const watched = signal<{ watch: Watch; clock: Clock } | null>(null);
const starting = signal(true);
const trouble = signal("");
/** This window was opened to sign in for another, and has done so. */
const finished = signal(false);
const RENEW_BEFORE_MS = 120_000;
const RENEW_AGAIN_MS = 10_000;

async function loadWarehouses(): Promise<void> {
  trouble.value = "";
  const tenant = session.peek()?.tenant;
  try {
    const all: Warehouse[] = [];
    for await (const w of api.items("/api/v1/warehouses", { query: { limit: 500 } })) all.push(w);
    if (session.peek()?.tenant === tenant) warehouses.value = all;
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    if (e.status !== 401) trouble.value = faultText(e);
  }
}

/** Follows the warehouse of the address, as the one who is signed in. */
function followWarehouse(): () => void {
  let who = "", tenant = "";
  return effect(() => {
    const s = session.value;
    if ((s?.tenant ?? "") !== tenant) {
      // Another tenant, or nobody: nothing of the one before stays.
      if (tenant !== "") forget();
      warehouses.value = null;
      tenant = s?.tenant ?? "";
    }
    if (s && warehouses.value === null && !expired.value) void loadWarehouses();
    const all = warehouses.value ?? [];
    const chosen = all.find((w) => w.warehouse_code === warehouseCode.value || w.warehouse_id === warehouseCode.value) ?? all[0];
    if (chosen && s) warehouseCode.value = chosen.warehouse_code; // a link says which, chosen or not
    const key = s && chosen ? `${s.tenant}/${chosen.warehouse_id}` : "";
    if (key === who) return;
    who = key;
    watched.peek()?.watch.close();
    draft.value = null;
    watched.value = chosen && s ? { watch: new Watch(chosen), clock: new Clock(chosen.timezone) } : null;
  });
}

/** The connection is made anew: the server does not take the new token for the open one, since it is somebody else's. */
function watchAnew(): void {
  const w = watched.peek();
  if (!w) return;
  w.watch.close();
  watched.value = { watch: new Watch(w.watch.warehouse), clock: w.clock };
}

/** A new token for the open connection; one of the development issuer is renewed by itself before it ends. */
function followToken(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let token = "";
  const stop = effect(() => {
    const s = session.value;
    clearTimeout(timer);
    if (!s) return;
    const w = watched.peek()?.watch;
    if (s.token !== token) void w?.renew().catch(watchAnew);
    token = s.token;
    const role = s.developmentRole;
    if (role === null || !Number.isFinite(s.expiresAt)) return; // the server says when it has ended
    const renew = (): void => {
      developmentSignIn(role).catch(() => (timer = setTimeout(renew, RENEW_AGAIN_MS)));
    };
    const left = s.expiresAt - Date.now() - (w?.link.peek().clockOffsetMs ?? 0);
    timer = setTimeout(renew, Math.min(2 ** 31 - 1, Math.max(RENEW_AGAIN_MS, left - Math.min(RENEW_BEFORE_MS, left / 2))));
  });
  return () => {
    stop();
    clearTimeout(timer);
  };
}

/** The whole page. */
export function Page() {
  useEffect(() => {
    const from = arrival(); // before the address is read: it holds the place to go back to
    const stops = [followAddress(), followWarehouse(), followToken(), followSignIn(), followTenants(), takeDrops()];
    start(from)
      .then((goesOn) => (finished.value = !goesOn))
      .catch((e: unknown) => {
        if (!(e instanceof ApiError || e instanceof SignInError)) throw e;
        trouble.value = e instanceof ApiError ? faultText(e) : e.message;
      })
      .finally(() => (starting.value = false));
    return () => stops.forEach((stop) => stop());
  }, []);
  if (playerShown.value) return <Player />;
  return (
    <>
      <Body />
      <Expired lastSeen={lastSeen()} until={until()} />
      <Notices />
    </>
  );
}

/** A recording that is dropped anywhere is played. Without this the browser would leave the page for the file. */
function takeDrops(): () => void {
  const off = new AbortController();
  const holds = (e: DragEvent): boolean => e.dataTransfer?.types.includes("Files") ?? false;
  addEventListener("dragover", (e) => holds(e) && e.preventDefault(), off);
  addEventListener("drop", (e) => {
    if (!holds(e)) return;
    e.preventDefault();
    void openFiles([...e.dataTransfer!.files]);
  }, off);
  return () => off.abort();
}

/** When what is seen was so, as the warehouse's clocks show it. */
function lastSeen(): string {
  const w = watched.value;
  const { lastMessageAt, clockOffsetMs } = w?.watch.link.value ?? { lastMessageAt: 0, clockOffsetMs: 0 };
  return w && lastMessageAt > 0 ? w.clock.time(lastMessageAt + clockOffsetMs) : "before";
}

/** When the sign-in ends, as the warehouse's clocks show it. */
function until(): string {
  const at = session.value?.grant?.until ?? NaN;
  const w = watched.value;
  return w && Number.isFinite(at) ? w.clock.time(at + w.watch.link.value.clockOffsetMs) : "it ends";
}

function Body() {
  if (finished.value) return <main class="whole"><h1>Signed in</h1><p>Close this window to go on in the other one.</p></main>;
  if (session.value === null) return starting.value ? <p class="whole" role="status">Starting …</p> : <Login trouble={trouble.value} />;
  if (trouble.value !== "") {
    return (
      <main class="whole">
        <h1>Starling</h1>
        <p role="alert">The warehouses could not be read: {trouble.value}.</p>
        <p>
          <button class="primary" onClick={() => void loadWarehouses()}>Try again</button> <button onClick={leaving}>Sign out</button>
        </p>
      </main>
    );
  }
  if (warehouses.value === null) return <p class="whole" role="status">Reading the warehouses …</p>;
  if (watched.value === null) {
    return (
      <main class="whole">
        <h1>No warehouse yet</h1>
        <p>This tenant has none. An administrator creates one with <code>POST /api/v1/warehouses</code> and uploads a map (<a href="/docs/">API documents</a>).</p>
        <p><button onClick={() => void loadWarehouses()}>Look again</button> <button onClick={leaving}>Sign out</button></p>
      </main>
    );
  }
  return (
    <Watched.Provider value={watched.value} key={watched.value.watch.serial}>
      <Desk />
    </Watched.Provider>
  );
}
