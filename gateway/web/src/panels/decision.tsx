import { useEffect, useState } from "preact/hooks";
import { ApiError } from "starling-client";
import { changeOf, type Decision, longest, partsOf, seconds } from "../decision.js";
import { faultText } from "../doing.js";
import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { api } from "../session.js";
import { short } from "../words.js";

/** Alternatives that are shown. */
const MOST = 8;

/**
 * Why this robot: the newest decision of a task or a robot, what it cost by parts, who else there was, what it changed. `again`: read anew
 * when it changes.
 */
export function DecisionPanel({ title, of, again, open = false }: { title: string; of: { task_id: string } | { robot_id: string }; again: string; open?: boolean }) {
  const { watch, clock } = useWatch();
  const [all, setAll] = useState<Decision[] | null>(null);
  const [fault, setFault] = useState("");
  const key = JSON.stringify(of);
  useEffect(() => {
    const stop = new AbortController();
    api.get("/api/v1/scheduler/decisions", { query: { ...of, limit: 2 }, signal: stop.signal }).then(
      (p) => {
        setAll(p.items);
        setFault("");
      },
      (e: unknown) => {
        if (!stop.signal.aborted) setFault(e instanceof ApiError ? faultText(e) : "It could not be read.");
      },
    );
    return () => stop.abort();
  }, [key, again]);
  const code = (id: string): string => {
    const row = watch.table?.row(id) ?? -1;
    return row < 0 ? short(id) : watch.table!.codes[row]!;
  };
  const robot = (id: string) => <button class="link" onClick={() => (selection.value = { type: "robot", id })}>{code(id)}</button>;
  const [d, before] = all ?? [];
  return (
    <details class="award" open={open} data-testid="decision">
      <summary>{title}</summary>
      {fault !== "" ? <p class="fault" role="alert">The decisions could not be read: {fault}.</p> : all === null ? <p class="empty" role="status">Reading …</p> : !d ? <p class="empty">Nothing has been decided yet.</p> : (
        <>
          <p>{d.robot_id !== null ? robot(d.robot_id) : "No robot"}{"task_id" in of || d.task_id === null ? "" : <> for <button class="link" onClick={() => (selection.value = { type: "task", id: d.task_id! })}>task {short(d.task_id)}</button></>}, {clock.at(Date.parse(d.decided_at), watch.now.value)}: {d.reason}.</p>
          {"task_id" in of && before && <p data-testid="changed">{changeOf(d, before, code)}</p>}
          {d.cycle.length > 0 && <p>It broke a ring of robots that waited for each other: {d.cycle.map((id, i) => <span key={id}>{i > 0 && ", "}{robot(id)}</span>)}.</p>}
          <Cost of={d.cost} />
          {d.alternatives.length > 0 && <Alternatives of={d} robot={robot} />}
        </>
      )}
    </details>
  );
}

function Cost({ of: cost }: { of: Decision["cost"] }) {
  const parts = partsOf(cost), most = longest(parts);
  return (
    <table class="bars" aria-label="Cost">
      <tbody>
        {parts.map((p) => (
          <tr key={p.name}>
            <th scope="row">{p.name}</th>
            <td class="bar"><i class={p.seconds < 0 ? "gain" : ""} style={{ width: `${(100 * Math.abs(p.seconds)) / most}%` }} /></td>
            <td>{seconds(p.seconds)}</td>
          </tr>
        ))}
        <tr class="sum"><th scope="row">all together</th><td /><td>{seconds(cost.total)}</td></tr>
      </tbody>
    </table>
  );
}

function Alternatives({ of: d, robot }: { of: Decision; robot: (id: string) => preact.ComponentChildren }) {
  return (
    <>
      <h3>Not chosen</h3>
      <ul class="plain" aria-label="Not chosen">
        {d.alternatives.slice(0, MOST).map((a) => (
          <li key={a.robot_id}>{robot(a.robot_id)}{a.total > 0 && <> {seconds(a.total)} ({seconds(a.total - d.cost.total, true)})</>}{a.reason !== "" && `: ${a.reason}`}</li>
        ))}
        {d.alternatives.length > MOST && <li class="hint">and {d.alternatives.length - MOST} more</li>}
      </ul>
    </>
  );
}
