import { draft } from "../draft.js";
import { selection } from "../route.js";
import { NewTaskForm } from "./newtask.js";
import { RobotPanel } from "./robot.js";
import { TaskPanel } from "./task.js";
import { ZonePanel } from "./zone.js";

/** The one thing that is selected, or being made. */
export function Inspector() {
  const s = selection.value;
  return (
    <aside id="side" class="side" aria-label="Details" tabIndex={-1} hidden={s === null && draft.value === null}>
      {draft.value ? <NewTaskForm /> : s?.type === "robot" ? <RobotPanel key={s.id} id={s.id} /> : s?.type === "task" ? <TaskPanel key={s.id} id={s.id} /> : s?.type === "zone" ? <ZonePanel key={s.id} id={s.id} /> : null}
    </aside>
  );
}

/** The head of a panel: what it is about, and the way out. */
export function PanelHead({ kind, name, close }: { kind: string; name: string; close?: () => void }) {
  const copy = (): void => void navigator.clipboard?.writeText(location.href);
  return (
    <header class="head">
      <div><small>{kind}</small><h2>{name}</h2></div>
      {!close && <button class="quiet" title="Copy the link to this view" aria-label="Copy the link to this view" onClick={copy}><svg viewBox="0 0 16 16" width="15" height="15" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true"><path d="M6.5 9.5l3-3M7 4.8l1.6-1.6a2.8 2.8 0 014 4L11 8.8M9 11.2l-1.6 1.6a2.8 2.8 0 01-4-4L5 7.2" /></svg></button>}
      <button class="quiet" aria-label="Close" title="Close (Esc)" onClick={close ?? (() => (selection.value = null))}>✕</button>
    </header>
  );
}

/** A name and its value. */
export function Row({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return <div class="pair"><dt>{name}</dt><dd>{children}</dd></div>;
}
