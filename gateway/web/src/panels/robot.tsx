import { useEffect, useState } from "preact/hooks";
import { ApiError, type Schemas } from "starling-client";
import { command } from "../doing.js";
import { begin } from "../draft.js";
import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { api, mayOperate } from "../session.js";
import { since, span } from "../time.js";
import { causeWords, percent, short, statusOfRobot, taskWord } from "../words.js";
import { DecisionPanel } from "./decision.js";
import { History } from "./history.js";
import { PanelHead, Row } from "./inspector.js";
import { StatusWord } from "./sign.js";
import { showRobot } from "./stage.js";
import { WhyChain } from "./why.js";

/** One robot: what it does, why it waits, what it may drive, what can be told to it. */
export function RobotPanel({ id }: { id: string }) {
  const { watch } = useWatch();
  const r = watch.detail.value;
  const now = watch.now.value;
  const [gone, setGone] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    api.get("/api/v1/robots/{robot_id}", { path: { robot_id: id }, signal: stop.signal }).then(() => setGone(false), (e: unknown) => setGone(e instanceof ApiError && (e.status === 404 || e.status === 422)));
    return () => stop.abort();
  }, [id, r === null]);
  if (!r || r.robot_id !== id) {
    const row = watch.table?.row(id) ?? -1;
    return (
      <>
        <PanelHead kind="Robot" name={row < 0 ? short(id) : watch.table!.codes[row]!} />
        <p class="empty" role="status">{gone ? "There is no such robot (any more)." : watch.link.value.phase === "open" ? "Reading …" : "Not connected"}</p>
      </>
    );
  }
  const o = r.order;
  return (
    <>
      <PanelHead kind="Robot" name={r.robot_code} />
      <p class="big"><StatusWord status={statusOfRobot(r)} />{r.waiting && <span>: {causeWords(r.waiting)} for {since(r.waiting_since, now)}</span>}</p>
      {r.errors.length > 0 && <ul class="faults">{r.errors.map((e) => <li key={e.code}><b>{e.level}</b> {e.code}: {e.message}</li>)}</ul>}
      <h3>Why</h3>
      <WhyChain />
      <Commands robot={r} />
      <dl class="pairs">
        <Row name="Task">{r.task_id ? <TaskLink id={r.task_id} /> : "none"}</Row>
        <Row name="Heard">{r.age_ms === null ? "never" : `${span(now - watch.detailAt.value + r.age_ms)} ago`} ({r.connection.toLowerCase().replace("_", " ")})</Row>
        <Row name="Battery">{percent(r.battery_soc)}</Row>
        <Row name="Speed">{r.velocity_mps === null ? "—" : `${r.velocity_mps.toFixed(2)} m/s`} of {r.max_speed_mps} m/s</Row>
        <Row name="At">{r.pose ? <button class="link" onClick={() => void showRobot(watch, id)}>{r.vertex ? `vertex ${r.vertex}` : `${r.pose.x.toFixed(1)}, ${r.pose.y.toFixed(1)} m`}</button> : "unknown"}</Row>
        {o && <Row name="Order">{o.goal ? `to ${o.goal.vertex}` : "no goal"} · {o.base.length} granted, {o.horizon.length} to come</Row>}
        {o && <Row name="Window">{o.window} vertices ahead{o.lease_until ? ` · lease ${Date.parse(o.lease_until) > now ? `${span(Date.parse(o.lease_until) - now)} left` : "ended"}` : ""}</Row>}
        <Row name="Fleet">{r.fleet ?? "—"} · {r.model ?? "—"} · {r.protocol}{r.control !== "engine" ? ` · driven by another (${r.control})` : ""}</Row>
        <Row name="Id"><code>{r.robot_id}</code></Row>
      </dl>
      <DecisionPanel title="Its last assignment" of={{ robot_id: id }} again={r.task_id ?? ""} />
      <History id={id} />
    </>
  );
}

/** A task, by name, that leads to it. */
export function TaskLink({ id }: { id: string }) {
  const { watch } = useWatch();
  void watch.tasks.changes.value;
  const t = watch.tasks.get(id);
  return <button class="link" onClick={() => (selection.value = { type: "task", id })}>{short(id)}{t ? ` · ${taskWord(t.status)}` : ""}</button>;
}

function Commands({ robot: r }: { robot: Schemas["Robot"] }) {
  const { watch } = useWatch();
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [vertex, setVertex] = useState<string | null>(null);
  if (!mayOperate.value) return <p class="hint">Your role may look, not command.</p>;
  const send = async (body: Schemas["NewCommand"]): Promise<void> => {
    setBusy((all) => new Set([...all, body.command]));
    try {
      await command(r.robot_id, `${r.robot_code}: ${body.command.replaceAll("_", " ")}`, body);
      watch.refresh();
    } finally {
      setBusy((all) => new Set([...all].filter((name) => name !== body.command)));
    }
  };
  const button = (name: Schemas["NewCommand"]["command"], word: string) => (
    <button disabled={busy.has(name) && name !== "stop"} onClick={() => void send({ command: name })}>{busy.has(name) ? `${word} …` : word}</button>
  );
  return (
    <>
      <div class="row wrap" role="group" aria-label="Commands">
        {r.state === "PAUSED" ? button("resume", "Resume") : button("pause", "Pause")}
        {button("stop", "Stop")}
        {button("charge", "Charge")}
        {r.errors.length > 0 && button("clear_errors", "Clear errors")}
        <button aria-expanded={vertex !== null} onClick={() => setVertex(vertex === null ? "" : null)}>Go to …</button>
        <button onClick={() => begin(r.robot_code)}>Give a task …</button>
      </div>
      {vertex !== null && (
        <form class="row" onSubmit={(e) => { e.preventDefault(); void send({ command: "go_to", vertex }); setVertex(null); }}>
          <label class="hidden" for="go-to">Vertex or place</label>
          <input id="go-to" required placeholder="vertex or place" value={vertex} onInput={(e) => setVertex(e.currentTarget.value)} />
          <button class="primary" type="submit">Go</button>
        </form>
      )}
    </>
  );
}
