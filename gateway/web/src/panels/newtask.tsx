import { change, draft, send, type Draft, type Errand } from "../draft.js";
import { useWatch } from "../page.js";
import { PanelHead } from "./inspector.js";

const types: [Draft["type"], string][] = [["transport", "Transport"], ["go_to", "Go to"], ["patrol", "Patrol"], ["charge", "Charge"]];

/** A place of the task: typed, or clicked on the map while it is being asked for. */
function PlaceField({ d, name, word, required }: { d: Draft; name: Errand; word: string; required: boolean }) {
  const active = d.active === name;
  const fault = d.faults[name];
  return (
    <div class={`field ${active ? "active" : ""}`}>
      <label for={`new-${name}`}>{word}{active && <span class="hint"> — click on the map, or type</span>}</label>
      <input id={`new-${name}`} value={d[name]} required={required} aria-invalid={fault !== undefined} aria-describedby={`new-${name}-fault`} placeholder="vertex or place" onFocus={() => d.active !== name && change({ active: name })} onInput={(e) => change({ [name]: e.currentTarget.value })} />
      <p id={`new-${name}-fault`} class="fault" role={fault ? "alert" : undefined}>{fault}</p>
    </div>
  );
}

/** A new task, put together by clicking on the map or by typing. */
export function NewTaskForm() {
  const { watch, clock } = useWatch();
  const d = draft.value;
  if (!d) return null;
  const deadline = d.deadline === "" ? NaN : clock.read(d.deadline);
  const submit = (e: Event): void => {
    e.preventDefault();
    void send(watch, Number.isNaN(deadline) ? null : new Date(deadline).toISOString());
  };
  const other = Object.entries(d.faults).filter(([name]) => !["pickup", "dropoff", "waypoints", "deadline", "priority", "robot_id"].includes(name));
  return (
    <form onSubmit={submit} aria-label="New task">
      <PanelHead kind="New" name="Task" close={() => (draft.value = null)} />
      <div class="segments" role="radiogroup" aria-label="Type">
        {types.map(([type, word]) => <label key={type}><input type="radio" name="type" checked={d.type === type} onChange={() => change({ type })} /> {word}</label>)}
      </div>
      {d.type === "transport" && <PlaceField d={d} name="pickup" word="Pick up at" required />}
      {d.type === "patrol" ? (
        <div class="field active">
          <label for="new-waypoints">Pass these, in order<span class="hint"> — click on the map, or type with commas</span></label>
          <input id="new-waypoints" required value={d.waypoints.join(", ")} aria-describedby="new-waypoints-fault" onChange={(e) => change({ waypoints: e.currentTarget.value.split(",").map((w) => w.trim()).filter((w) => w !== "") })} />
          <p id="new-waypoints-fault" class="fault">{d.faults["waypoints"]}</p>
        </div>
      ) : (
        <PlaceField d={d} name="dropoff" word={d.type === "transport" ? "Drop off at" : d.type === "charge" ? "Charger (empty = the best one)" : "Go to"} required={d.type !== "charge"} />
      )}
      <div class="field">
        <label for="new-priority">Priority <output>{d.priority}</output></label>
        <input id="new-priority" type="range" min={0} max={9} value={d.priority} onInput={(e) => change({ priority: Number(e.currentTarget.value) })} />
        <p class="fault">{d.faults["priority"]}</p>
      </div>
      <div class="field">
        <label for="new-deadline">Deadline ({clock.zoneName(watch.now.peek())})</label>
        <input id="new-deadline" type="datetime-local" value={d.deadline} aria-describedby="new-deadline-fault" onInput={(e) => change({ deadline: e.currentTarget.value })} />
        <p id="new-deadline-fault" class="fault">{d.faults["deadline"]}</p>
      </div>
      <div class="field">
        <label for="new-robot">Robot (empty = the best one)</label>
        <input id="new-robot" placeholder="robot code" value={d.robot} aria-invalid={d.faults["robot_id"] !== undefined} aria-describedby="new-robot-fault" onInput={(e) => change({ robot: e.currentTarget.value })} />
        <p id="new-robot-fault" class="fault" role={d.faults["robot_id"] ? "alert" : undefined}>{d.faults["robot_id"]}</p>
      </div>
      {other.map(([name, problem]) => <p key={name} class="fault" role="alert">{name}: {problem}</p>)}
      <div class="row"><button class="primary" type="submit" disabled={d.sending}>{d.sending ? "Creating …" : "Create the task"}</button><button type="button" onClick={() => (draft.value = null)}>Discard</button></div>
    </form>
  );
}
