import { chooseTenant, renewing, session } from "../session.js";
import { tenantName } from "../tenants.js";
import { useWatch, warehouses } from "../page.js";
import { warehouseCode, look, selection, tab, taskFilter, robotFilter } from "../route.js";
import { chooseTheme, theme } from "../theme.js";
import { playerShown } from "../playback.js";
import { span } from "../time.js";
import { count } from "../words.js";
import { column } from "./desk.js";
import { helpShown } from "./help.js";
import { leaving } from "./login.js";
import { Menu } from "./menu.js";
import { Search } from "./search.js";

/** The warehouse's figures, each with what a press on it shows. */
function Figures() {
  const { watch } = useWatch();
  const o = watch.overview.value;
  if (!o) return <div class="figures" aria-busy="true" />;
  const online = o.robots.connection["ONLINE"] ?? 0;
  const away = (o.robots.connection["OFFLINE"] ?? 0) + (o.robots.connection["STALE"] ?? 0);
  const late = (): void => {
    tab.value = "tasks";
    taskFilter.value = { status: "open", text: "", late: true };
  };
  const unavailable = (): void => {
    tab.value = "robots";
    robotFilter.value = { show: "unavailable", text: "" };
  };
  return (
    <div class="figures" role="group" aria-label="The warehouse now">
      <Figure name="robots online" value={`${count(online)}/${count(o.robots.total)}`} />
      <Figure name="away" value={count(away)} kind={away > 0 ? "warn" : ""} act={unavailable} />
      <Figure name="late" value={count(o.tasks.late)} kind={o.tasks.late > 0 ? "bad" : ""} act={late} />
      <Figure name="cancelling" value={count(o.tasks.cancelling)} kind={o.tasks.cancelling > 0 ? "warn" : ""} act={() => { tab.value = "tasks"; taskFilter.value = { status: "CANCELLING", text: "", late: false }; }} />
      <Figure name="open tasks" value={count(o.tasks.open)} />
      <Figure name="done a minute" value={count(o.tasks.finished_last_minute)} />
      <Figure name="decision P99" value={took(o.decision_ms)} />
      <Figure name="command P99" value={took(o.command_ms)} />
    </div>
  );
}

/** 338 ms, 11.5 s. */
function took(of: { p99: number } | null | undefined): string {
  if (!of) return "—";
  return of.p99 < 1000 ? `${Math.round(of.p99)} ms` : `${(of.p99 / 1000).toFixed(1)} s`;
}

function Figure({ name, value, kind = "", act }: { name: string; value: string; kind?: string; act?: () => void }) {
  const inside = (
    <>
      <b>{value}</b> <span>{name}</span>
    </>
  );
  return act ? <button class={`figure ${kind}`} onClick={act}>{inside}</button> : <span class={`figure ${kind}`}>{inside}</span>;
}

const LIVE_MS = 12_000;

/** How old what is seen is, and whether all of it flows. */
function Age() {
  const { watch, clock } = useWatch();
  const now = watch.now.value;
  const { phase } = watch.link.value;
  const age = watch.ageMs();
  const halted = watch.halted.value;
  const live = phase === "open" && age < LIVE_MS && halted === "";
  const word = live ? "live" : !Number.isFinite(age) ? "no data yet" : phase === "open" && age < LIVE_MS ? `waiting for ${halted}` : `${span(age)} old`;
  return (
    <span class={`age ${live ? "live" : "old"}`} data-testid="age" title={`Times are ${clock.zoneName(now)} (${clock.zone})`}>
      <i aria-hidden="true">{live ? "●" : "○"}</i> {word} · <time>{clock.time(now)}</time> {clock.zoneName(now)}
    </span>
  );
}

export function TopBar() {
  const { watch } = useWatch();
  const total = watch.overview.value?.attention.total ?? 0;
  const other = theme.value === "dark" ? "light" : "dark";
  return (
    <header class="top">
      <span class="brand"><img src="/starling.svg" alt="Starling" width="22" height="22" /></span>
      <TenantChooser />
      <label class="warehouse">
        <span class="hidden">Warehouse</span>
        <select
          value={watch.warehouse.warehouse_code}
          onChange={(e) => {
            look.value = null;
            selection.value = null;
            warehouseCode.value = e.currentTarget.value;
          }}
        >
          {(warehouses.value ?? []).map((w) => <option key={w.warehouse_id} value={w.warehouse_code}>{w.name}</option>)}
        </select>
      </label>
      <button class="only-narrow" aria-expanded={column.value === "attention"} onClick={() => (column.value = column.value === null ? "attention" : null)}>
        ⚑ {total}
      </button>
      <Search />
      <Figures />
      <Age />
      <button class="quiet" aria-label={`Use the ${other} theme`} title={`Use the ${other} theme`} onClick={() => chooseTheme(other)}>{other === "dark" ? "☾" : "☀"}</button>
      <button class="quiet" aria-label="Keys and signs" title="Keys and signs (?)" onClick={() => (helpShown.value = true)}>?</button>
      <Account />
    </header>
  );
}

/** Whose warehouses these are, where one may look at those of several. */
function TenantChooser() {
  const { me, tenant } = session.value!;
  if (me.tenant_ids.length < 2) return null;
  return (
    <label class="warehouse">
      <span class="hidden">Tenant</span>
      <select value={tenant} onChange={(e) => chooseTenant(e.currentTarget.value)}>
        {me.tenant_ids.map((t) => <option key={t} value={t}>{tenantName(t)}</option>)}
      </select>
    </label>
  );
}

/** Who looks at the page, for whom, and with which rights. */
function Account() {
  const { me, tenant, grant } = session.value!;
  const name = me.name ?? me.email ?? me.subject;
  return (
    <Menu name="menu" label={`Signed in as ${name}`} sign={name.slice(0, 14)} closing>
      <div class="card">
        <p><b>{name}</b>{me.email !== null && me.email !== name && <><br /><small>{me.email}</small></>}</p>
        <dl class="pairs">
          <div class="pair"><dt>Tenant</dt><dd>{tenantName(tenant)}</dd></div>
          <div class="pair"><dt>{me.roles.length === 1 ? "Role" : "Roles"}</dt><dd>{me.roles.join(", ") || "none"}</dd></div>
        </dl>
        <p><a href="/docs/" target="_blank" rel="noreferrer">API documents</a></p>
        <p><button onClick={() => (playerShown.value = true)}>Play a recording</button></p>
        {grant === null && <p><button onClick={() => (renewing.value = true)}>Give another token</button></p>}
        <p><button onClick={leaving}>Sign out</button></p>
      </div>
    </Menu>
  );
}
