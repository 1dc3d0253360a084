import { useEffect, useState } from "preact/hooks";
import { ApiError, type Schemas, type Task } from "starling-client";
import { api, mayOperate } from "../session.js";
import { attempt, faultText } from "../doing.js";
import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { finished } from "../tasks.js";
import { since, span } from "../time.js";
import { errands, isLate, short, taskWord, typeWord } from "../words.js";
import { findTask } from "../watch.js";
import { DecisionPanel } from "./decision.js";
import { PanelHead, Row } from "./inspector.js";
import { SureButton } from "./sure.js";
import { showPlace, showRobot } from "./stage.js";
import { WhyChain } from "./why.js";
import { placeOf } from "../map/floor.js";

/** Cancels a task; it is visible as CANCELLING until the robot has confirmed. */
export async function cancel(watch: ReturnType<typeof useWatch>["watch"], t: Task): Promise<void> {
  const after = await attempt(`Cancel task ${short(t.task_id)}`, () => api.post("/api/v1/tasks/{task_id}/cancel", { path: { task_id: t.task_id }, body: {} }));
  if (after) watch.tasks.remember(after);
  watch.refresh();
}

/** A task's state: a word, and a sign where somebody should look. */
export function TaskStatus({ task: t, now }: { task: Task; now: number }) {
  const { watch } = useWatch();
  const cancelling = t.status === "CANCELLING";
  const from = cancelling ? since(watch.tasks.cancellingSince(t.task_id), now) : "";
  return (
    <span class={`task-status ${t.status.toLowerCase()}`}>
      {cancelling ? "⟳ " : t.status === "SUCCEEDED" ? "✓ " : t.status === "FAILED" ? "✕ " : ""}
      {taskWord(t.status)}
      {cancelling && from !== "" && ` for ${from}`}
      {isLate(t, now) && <b class="late"> ◷ late</b>}
    </span>
  );
}

/** One task: how far it is, why it waits, who does it and why, what has happened. */
export function TaskPanel({ id }: { id: string }) {
  const { watch, clock } = useWatch();
  void watch.tasks.changes.value;
  const now = watch.now.value;
  const [gone, setGone] = useState("");
  const t = watch.tasks.get(id);
  useEffect(() => {
    if (t) return;
    findTask(watch, id).then(
      (found) => setGone(found ? "" : "There is no such task."),
      (e: unknown) => setGone(e instanceof ApiError ? faultText(e) : "It could not be read."),
    );
  }, [id, t === undefined]);
  if (!t) return <><PanelHead kind="Task" name={short(id)} /><p class="empty" role="status">{gone || "Reading …"}</p></>;
  const robot = t.robot_id;
  const row = robot ? (watch.table?.row(robot) ?? -1) : -1;
  const floor = watch.floor.value;
  const list = errands(t);
  return (
    <>
      <PanelHead kind={`Task: ${typeWord(t.task_type)}`} name={short(id)} />
      <p class="big"><TaskStatus task={t} now={now} />{t.reason && <span>: {t.reason}</span>}</p>
      {list.length > 0 && (
        <ol class="errands" aria-label="Errands">
          {list.map((e, i) => {
            const p = floor ? placeOf(floor, e.place) : null;
            const state = t.status === "SUCCEEDED" || i < t.progress.errand ? "reached" : i === t.progress.errand && t.status === "EXECUTING" ? "next" : "";
            return <li key={i} class={state}>{e.kind === "pickup" ? "Pick up at" : e.kind === "dropoff" ? "Drop off at" : "Pass"} {p ? <button class="link" onClick={() => showPlace(p)}>{e.place}</button> : e.place}{state === "reached" ? " ✓" : state === "next" ? " ←" : ""}</li>;
          })}
        </ol>
      )}
      {!finished(t) && <><h3>Why</h3><WhyChain /></>}
      <div class="row wrap">
        {!finished(t) && t.status !== "CANCELLING" && mayOperate.value && <SureButton kind="danger" word="Cancel the task" act={() => void cancel(watch, t)} />}
        {t.status === "CANCELLING" && <p class="hint">Waiting for the robot to confirm. It ends by itself if the robot does not answer.</p>}
      </div>
      <dl class="pairs">
        <Row name="Robot">{robot ? <button class="link" onClick={() => { selection.value = { type: "robot", id: robot }; void showRobot(watch, robot); }}>{row < 0 ? short(robot) : watch.table!.codes[row]}</button> : "none yet"}</Row>
        <Row name="Priority">{t.priority}</Row>
        <Row name="Deadline">{t.deadline ? <>{clock.at(Date.parse(t.deadline), now)} {isLate(t, now) ? <b class="late">late by {span((t.finished_at ? Date.parse(t.finished_at) : now) - Date.parse(t.deadline))}</b> : !finished(t) && `in ${span(Date.parse(t.deadline) - now)}`}</> : "none"}</Row>
        {t.earliest_start && <Row name="Not before">{clock.at(Date.parse(t.earliest_start), now)}</Row>}
        <Row name="From">{t.source}{t.fleet ? ` · fleet ${t.fleet}` : ""}</Row>
        <Row name="Id"><code>{t.task_id}</code></Row>
      </dl>
      <History task={t} />
      {t.robot_id && <DecisionPanel open title="Why this robot" of={{ task_id: t.task_id }} again={`${t.robot_id} ${t.version}`} />}
    </>
  );
}

/** What has happened, step by step. */
function History({ task: t }: { task: Task }) {
  const { watch, clock } = useWatch();
  const [events, setEvents] = useState<Schemas["Event"][]>([]);
  useEffect(() => {
    const stop = new AbortController();
    api.get("/api/v1/tasks/{task_id}/events", { path: { task_id: t.task_id }, query: { limit: 100 }, signal: stop.signal }).then((p) => setEvents(p.items), () => {});
    return () => stop.abort();
  }, [t.task_id, t.version]);
  const now = watch.now.value;
  return (
    <>
      <h3>What happened</h3>
      <ol class="history">
        {events.map((e) => <li key={e.event_id}><time>{clock.at(Date.parse(e.occurred_at), now)}</time> <b>{e.event_type.replaceAll("_", " ")}</b> {e.to_status !== e.from_status ? taskWord(e.to_status as Task["status"]) : ""}</li>)}
      </ol>
    </>
  );
}
