import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, newKey, type Alert } from "starling-client";
import { causeWord, levelOf, snoozed, stepText } from "../alerts.js";
import { attempt } from "../doing.js";
import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { api, mayOperate } from "../session.js";
import { since } from "../time.js";
import { short } from "../words.js";
import type { Watch } from "../watch.js";
import { letters } from "./help.js";
import { Level } from "./level.js";
import { showRobot, showZone } from "./stage.js";
import { SureButton } from "./sure.js";
import { Table, type Column } from "./table.js";

/** The alert that is looked at; "" = none. */
export const chosenAlert = signal("");
const resolvedToo = signal(false);
const SNOOZE_MS = 60 * 60_000;

type Verb = "acknowledge" | "resolve" | "rollback";
const said: Record<Verb, string> = { acknowledge: "Acknowledged", resolve: "Resolved", rollback: "Rolled back" };

/** Does something about an alert; the answer is shown at once, the live channel says the same a moment later. */
async function act(watch: Watch, what: string, call: () => Promise<Alert>): Promise<boolean> {
  const now = await attempt(what, call);
  if (now) watch.alerts.remember(now);
  return now !== undefined;
}

const at = (a: Alert): { path: { alert_id: string } } => ({ path: { alert_id: a.alert_id } });

function press(watch: Watch, a: Alert, verb: Verb): void {
  void act(watch, said[verb], () => {
    if (verb === "acknowledge") return api.post("/api/v1/alerts/{alert_id}/acknowledge", at(a));
    return verb === "resolve" ? api.post("/api/v1/alerts/{alert_id}/resolve", at(a)) : api.post("/api/v1/alerts/{alert_id}/rollback", at(a));
  });
}

function assign(watch: Watch, a: Alert): void {
  void act(watch, "Assigned to you", () => api.post("/api/v1/alerts/{alert_id}/assign", { ...at(a), body: { assignee: "me" } }));
}

function snooze(watch: Watch, a: Alert): void {
  const until = snoozed(a, Date.now()) ? null : new Date(Date.now() + SNOOZE_MS).toISOString();
  void act(watch, until === null ? "No longer silenced" : "Silenced for an hour", () => api.post("/api/v1/alerts/{alert_id}/snooze", { ...at(a), body: until === null ? {} : { until } }));
}

function comment(watch: Watch, a: Alert, text: string): Promise<boolean> {
  return act(watch, "Comment added", () => api.create("/api/v1/alerts/{alert_id}/comments", { ...at(a), body: { text }, key: newKey() }));
}

/** Leads to what an alert is about. */
function show(watch: Watch, a: Alert): void {
  const { type, id } = a.subject;
  if (type === "robot") {
    selection.value = { type: "robot", id };
    void showRobot(watch, id);
  } else if (type === "zone") {
    selection.value = { type: "zone", id };
    showZone(watch, id);
  } else if (type === "lane") {
    const zone = watch.heat.value.get(id)?.zone_id;
    if (zone === undefined) return;
    selection.value = { type: "zone", id: zone };
    showZone(watch, zone);
  }
}

/** What is wrong, the worst first: looked at, acknowledged, assigned, commented, resolved and rolled back without a mouse. */
export function AlertTriage() {
  const { watch } = useWatch();
  void watch.alerts.changes.value;
  const items = watch.alerts.list(resolvedToo.value);
  const chosen = watch.alerts.get(chosenAlert.value) ?? null;
  const box = useRef<HTMLDivElement>(null);
  const text = useRef<HTMLInputElement>(null);
  const now = watch.now.value;
  const open = chosen !== null && chosen.status !== "RESOLVED";

  // Who comes here goes on with the keys: the list has the focus, unless it is somewhere within already.
  useEffect(() => {
    if (!box.current?.contains(document.activeElement)) box.current?.focus({ preventScroll: true });
  }, []);
  // The row or button that had the focus has gone with what was done: the keys stay here.
  const within = useRef(false);
  useEffect(() => {
    if (within.current && (document.activeElement === null || document.activeElement === document.body)) box.current?.focus({ preventScroll: true });
  });
  useEffect(() => {
    const pressed = (e: PointerEvent): void => void (within.current &&= box.current?.contains(e.target as Node) === true); // who goes elsewhere is let go
    addEventListener("pointerdown", pressed, true);
    return () => removeEventListener("pointerdown", pressed, true);
  }, []);
  // Where the alert that was looked at leaves the list, its neighbour comes next.
  const place = useRef(-1);
  useEffect(() => {
    const i = items.findIndex((a) => a.alert_id === chosenAlert.value);
    if (i >= 0) place.current = i;
    else if (place.current >= 0 && chosen?.status === "RESOLVED") {
      const next = items[Math.min(items.length - 1, place.current)];
      place.current = -1;
      chosenAlert.value = next?.alert_id ?? "";
    }
  });

  /** The letters belong to the alert that is looked at, while the focus is here. */
  const onKey = (e: KeyboardEvent): void => {
    const target = e.target as HTMLElement;
    if (e.ctrlKey || e.metaKey || e.altKey || (target instanceof HTMLInputElement && target.type !== "checkbox") || !letters.value) return;
    if (e.key === "j" || e.key === "k") {
      const i = items.findIndex((a) => a.alert_id === chosenAlert.value);
      const next = items[Math.min(items.length - 1, Math.max(0, i + (e.key === "j" ? 1 : -1)))];
      if (next) chosenAlert.value = next.alert_id;
      box.current?.focus({ preventScroll: true }); // Enter and the arrows belong to no row that is left behind
    } else if (chosen === null || !mayOperate.value) return;
    else if (e.key === "c") text.current?.focus();
    else if (e.key === "z") box.current?.querySelector<HTMLButtonElement>(".rollback button")?.focus();
    else if (!open || (e.key === "a" && chosen.status !== "OPEN")) return;
    else if (e.key === "a") press(watch, chosen, "acknowledge");
    else if (e.key === "r") press(watch, chosen, "resolve");
    else if (e.key === "m") assign(watch, chosen);
    else if (e.key === "s") snooze(watch, chosen);
    else return;
    e.stopPropagation();
    e.preventDefault();
  };
  const columns: Column<Alert>[] = [
    { name: "Level", width: "52px", cell: (a) => <Level of={levelOf(a)} /> },
    { name: "Cause", width: "minmax(96px, 130px)", cell: causeWord },
    { name: "What", width: "minmax(160px, 2fr)", cell: (a) => `${a.message}${a.count > 1 ? ` (${a.count}×)` : ""}` },
    { name: "Since", width: "76px", cell: (a) => since(a.opened_at, now) },
    { name: "State", width: "minmax(96px, 130px)", from: 520, cell: (a) => stateWord(a, now) },
  ];
  return (
    <div ref={box} class="alert-triage" tabIndex={-1} onKeyDown={onKey} onFocusIn={() => (within.current = true)} onFocusOut={(e) => (within.current = e.relatedTarget === null || box.current?.contains(e.relatedTarget as Node) === true)}>
      <div class="alert-list">
        <div class="filters">
          <label><input type="checkbox" checked={resolvedToo.value} onInput={(e) => (resolvedToo.value = e.currentTarget.checked)} /> resolved too</label>
          <span class="hint" role="status">{watch.alerts.known.value ? `${items.length} shown` : "Reading …"}</span>
        </div>
        <Table
          label="Alerts"
          columns={columns}
          items={items}
          keyOf={(a) => a.alert_id}
          chosen={chosenAlert.value === "" ? null : chosenAlert.value}
          choose={(a) => (chosenAlert.value = a.alert_id)}
          empty={watch.alerts.known.value ? "✓ Nothing is wrong." : "Reading …"}
        />
      </div>
      {chosen && <AlertCard key={chosen.alert_id} alert={chosen} text={text} />}
    </div>
  );
}

function stateWord(a: Alert, now: number): string {
  if (a.status === "RESOLVED") return "resolved";
  const who = a.assignee === null ? "" : ` · ${short(a.assignee)}`;
  return (snoozed(a, now) ? "silenced" : a.status === "OPEN" ? "open" : "acknowledged") + who;
}

/** One alert: what may be done about it, and what was. */
function AlertCard({ alert: a, text }: { alert: Alert; text: preact.RefObject<HTMLInputElement | null> }) {
  const { watch, clock } = useWatch();
  const [draft, setDraft] = useState("");
  const now = watch.now.value;
  useEffect(() => {
    if (a.handling.length > 0) return; // lists come without it
    const left = new AbortController();
    api.get("/api/v1/alerts/{alert_id}", { ...at(a), signal: left.signal }).then((full) => watch.alerts.remember(full), (e: unknown) => {
      if (!left.signal.aborted && !(e instanceof ApiError)) throw e;
    });
    return () => left.abort();
  }, [a.alert_id, a.version]);
  const open = a.status !== "RESOLVED";
  const send = async (e: Event): Promise<void> => {
    e.preventDefault();
    if (draft.trim() !== "" && (await comment(watch, a, draft.trim()))) setDraft("");
  };
  const where = a.subject.type === "zone" || a.subject.type === "robot" || a.subject.type === "lane";
  return (
    <section class="alert-card scroll" aria-label="Alert">
      <h3><Level of={levelOf(a)} /> {causeWord(a)}</h3>
      <p>{a.message}</p>
      {mayOperate.value && (
        <div class="row wrap">
          {a.status === "OPEN" && <button class="primary" onClick={() => press(watch, a, "acknowledge")}>Acknowledge <kbd>a</kbd></button>}
          {open && <button onClick={() => assign(watch, a)}>Mine <kbd>m</kbd></button>}
          {open && <button onClick={() => snooze(watch, a)}>{snoozed(a, now) ? "Wake" : "Silence 1 h"} <kbd>s</kbd></button>}
          {open && <button onClick={() => press(watch, a, "resolve")}>Resolve <kbd>r</kbd></button>}
          <span class="rollback"><SureButton word="Roll back" act={() => press(watch, a, "rollback")} /> <kbd>z</kbd></span>
        </div>
      )}
      {where && <p><button class="quiet" onClick={() => show(watch, a)}>Show where</button></p>}
      {a.remedies.length > 0 && (
        <ul class="remedies" aria-label="Done about it">
          {a.remedies.map((r) => <li key={r.remedy_id}><b>{r.label}</b> {r.automatic ? "by itself" : "by a person"}, {r.state.replace("_", " ")}. {r.measured ?? r.expected}</li>)}
        </ul>
      )}
      {mayOperate.value && (
        <form class="row" onSubmit={(e) => void send(e)}>
          <input ref={text} aria-label="Comment" placeholder="Comment (c)" maxLength={2000} value={draft} onInput={(e) => setDraft(e.currentTarget.value)} onKeyDown={(e) => { if (e.key === "Escape") { e.stopPropagation(); e.currentTarget.blur(); } }} />
          <button disabled={draft.trim() === ""}>Add</button>
        </form>
      )}
      <ol class="handling" aria-label="Handling">
        {[...a.handling].reverse().map((s) => (
          <li key={s.seq}><time dateTime={s.at}>{clock.at(Date.parse(s.at), now)}</time> {stepText(s)} <small>{s.actor === null ? "" : short(s.actor)}</small></li>
        ))}
      </ol>
    </section>
  );
}
