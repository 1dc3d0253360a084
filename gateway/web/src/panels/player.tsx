import { effect, useComputed } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { RobotTable } from "starling-client";
import { eventsOf, type Film, type FilmRobot, floorOfFilm, frameAt, middleOf, show, zonesOfFilm } from "../film.js";
import { MapView } from "../map/view.js";
import { WaitGraph } from "../map/waits.js";
import { advance, bounds, changeSpeed, chosen, closePlayer, fileName, film, filmFault, opening, openFiles, position, running, seek, speed, SPEEDS, step, toggle } from "../playback.js";
import { chooseTheme, theme } from "../theme.js";
import { causeWords } from "../words.js";
import { Table, type Column } from "./table.js";

const LAYERS = { zones: true, heat: false, names: true, lanes: false, flow: false, waits: true, jams: false };
/** Robots that are listed as waiting. */
const MOST_WAITING = 200;

/** 12.25 s. */
function at(t: number): string {
  return `${t.toFixed(2)} s`;
}

/** Plays recordings of scenarios. It stands instead of the live floor, never beside it: what moves here is no robot. */
export function Player() {
  const f = film.value;
  useEffect(() => {
    const key = (e: KeyboardEvent): void => {
      if (shortcut(e)) e.preventDefault();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const other = theme.value === "dark" ? "light" : "dark";
  return (
    <div class="player">
      <header class="top">
        <span class="brand"><img src="/starling.svg" alt="Starling" width="22" height="22" /></span>
        <b class="recorded" role="status">Recording — nothing of this is the live floor</b>
        {f && <h1>{f.title || f.name || "Untitled"} <small>{fileName.value}</small></h1>}
        <span class="spring" />
        <Open word={f ? "Open another …" : "Open a recording …"} />
        <button class="quiet" aria-label={`Use the ${other} theme`} title={`Use the ${other} theme`} onClick={() => chooseTheme(other)}>{other === "dark" ? "☾" : "☀"}</button>
        <button onClick={closePlayer}>Close the player</button>
      </header>
      {filmFault.value !== "" && <p class="banner bad" role="alert"><b>It cannot be played.</b> {filmFault.value}{f && " What was open stays open."}</p>}
      {f ? <Screen key={fileName.value} film={f} /> : <Empty />}
    </div>
  );
}

function shortcut(e: KeyboardEvent): boolean {
  const on = e.target as HTMLElement;
  if (e.ctrlKey || e.metaKey || e.altKey || film.peek() === null || on.tagName === "SELECT" || on.closest("[role=application]")) return false;
  const steps = on.tagName !== "INPUT" && on.closest("[role=row]") === null; // there they have a meaning of their own
  switch (e.key) {
    case " ":
      if (on.tagName === "BUTTON" || on.closest("[role=row]") !== null) return false;
      toggle();
      return true;
    case "ArrowRight":
    case ".":
      if (steps || e.key === ".") step(1);
      return steps || e.key === ".";
    case "ArrowLeft":
    case ",":
      if (steps || e.key === ",") step(-1);
      return steps || e.key === ",";
    case "Home":
    case "End":
      if (steps) seek(e.key === "Home" ? -Infinity : Infinity);
      return steps;
    case "+":
    case "-":
      changeSpeed(e.key === "+" ? 1 : -1);
      return true;
    case "Escape":
      chosen.value = "";
      return true;
    default:
      return false;
  }
}

function Open({ word }: { word: string }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button class="primary" onClick={() => input.current?.click()}>{word}</button>
      <input
        ref={input} type="file" accept=".json,application/json" hidden aria-label="Recording"
        onChange={(e) => {
          const field = e.currentTarget;
          void openFiles([...(field.files ?? [])]).finally(() => (field.value = "")); // the same file can be opened again
        }}
      />
    </>
  );
}

function Empty() {
  return (
    <main class="whole" aria-busy={opening.value}>
      <h1>{opening.value ? "Reading the recording …" : "No recording is open"}</h1>
      <p>Drop a file here, or open one. A scenario is recorded with</p>
      <p><code>starling sim --scenario NAME --out FILE.json</code></p>
      <p class="hint">The file stays on this machine: nothing of it is sent anywhere.</p>
    </main>
  );
}

/** The floor of a recording, and what moves it. */
function Screen({ film: f }: { film: Film }) {
  const frame = useComputed(() => frameAt(f, position.value)); // changes with frames alone, not with each picture
  return (
    <>
      <Floor film={f} />
      <Transport film={f} frame={frame.value} />
      <aside class="side" aria-label="What is recorded">
        {f.about !== "" && <p>{f.about}</p>}
        <Robot film={f} robots={f.frames[frame.value]!.robots} />
        <Waiting robots={f.frames[frame.value]!.robots} />
        <p class="hint">{f.rows} × {f.cols} cells of {f.cell} m, {f.zones.length} zones, {f.frames.length} frames</p>
      </aside>
      <Events film={f} frame={frame.value} />
    </>
  );
}

/** Makes the map of a recording and keeps it at the position; gives what ends that. */
function keep(f: Film, host: HTMLElement): () => void {
  const table = new RobotTable();
  table.reset(f.frames[0]!.robots.length);
  const row = (id: string): number => table.row(id);
  const map: MapView = new MapView(host, {
    click: (hit) => (chosen.value = hit.type === "robot" ? table.ids[hit.row]! : ""),
    hover: () => {},
    moved: () => {},
    still: true,
  });
  map.setFloor(floorOfFilm(f));
  map.setZones(zonesOfFilm(f));
  map.setLayers(LAYERS);
  let last = performance.now(), request = 0;
  const tick = (now: number): void => {
    request = requestAnimationFrame(tick);
    advance(now - last);
    last = now;
  };
  const stops = [
    effect(() => {
      cancelAnimationFrame(request);
      if (!running.value) return;
      last = performance.now();
      request = requestAnimationFrame(tick);
    }),
    effect(() => {
      show(f, position.value, table);
      map.setRobots(table, null);
    }),
    effect(() => {
      const robots = f.frames[frameAt(f, position.value)]!.robots, me = robots.find((r) => r.id === chosen.value);
      const waits = robots.filter((r) => r.waits_for !== "").map((r) => ({ robot_id: r.id, holder_id: r.waits_for }));
      map.setWaits(new WaitGraph(waits).edges(me ? me.id : null, true, row));
      map.setSelection({ robotRow: me ? row(me.id) : null, zoneId: null });
      map.setMarks(me && me.goal >= 0 ? [{ ...middleOf(f, me.goal), label: `goal of ${me.id}`, kind: "dropoff" }] : []);
    }),
    effect(() => {
      void theme.value;
      map.setTheme();
    }),
  ];
  return () => {
    stops.forEach((stop) => stop());
    cancelAnimationFrame(request);
    map.destroy();
  };
}

function Floor({ film: f }: { film: Film }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => keep(f, host.current!), [f]);
  return (
    <section class="stage" aria-label="Floor of the recording">
      <div ref={host} class="map" tabIndex={0} role="application" aria-label="Map of the recording. Arrow keys move it, plus and minus zoom. Robots that wait and all events are listed beside it." />
    </section>
  );
}

/** Play, pause, step, scrub, speed. */
function Transport({ film: f, frame }: { film: Film; frame: number }) {
  const [, end] = bounds(f);
  const last = f.frames.length - 1;
  return (
    <div class="transport" role="group" aria-label="Playing">
      <button aria-label="To the beginning" title="To the beginning (Home)" onClick={() => seek(-Infinity)}>⇤</button>
      <button aria-label="One frame back" title="One frame back (←)" disabled={frame === 0 && position.value <= f.frames[0]!.t} onClick={() => step(-1)}>◁</button>
      <button class="primary" aria-label={running.value ? "Pause" : "Play"} title={running.value ? "Pause (space)" : "Play (space)"} onClick={toggle}>{running.value ? "❚❚" : "▶"}</button>
      <button aria-label="One frame on" title="One frame on (→)" disabled={frame === last} onClick={() => step(1)}>▷</button>
      <input
        type="range" aria-label="Position" min={0} max={last} step={1} value={frame} aria-valuetext={`${at(position.value)} of ${at(end)}`}
        onInput={(e) => { running.value = false; seek(f.frames[Number(e.currentTarget.value)]!.t); }}
      />
      <output data-testid="position" data-frame={frame}>{at(position.value)} of {at(end)}</output>
      <label>Speed <select value={String(speed.value)} onChange={(e) => (speed.value = Number(e.currentTarget.value))}>{SPEEDS.map((s) => <option key={s} value={String(s)}>{s} ×</option>)}</select></label>
    </div>
  );
}

function robotButton(id: string) {
  return <button class="link" onClick={() => (chosen.value = id)}>{id}</button>;
}

/** The robot that is looked at. */
function Robot({ film: f, robots }: { film: Film; robots: readonly FilmRobot[] }) {
  if (chosen.value === "") return <p class="hint">Press a robot to see for whom it waits and where it goes.</p>;
  const r = robots.find((x) => x.id === chosen.value);
  const graph = new WaitGraph(robots.filter((x) => x.waits_for !== "").map((x) => ({ robot_id: x.id, holder_id: x.waits_for })));
  const chain = graph.chain(chosen.value);
  const goal = r && r.goal >= 0 ? `${Math.floor(r.goal / f.cols)}, ${r.goal % f.cols}` : "";
  return (
    <section aria-label="Robot">
      <h2>Robot {chosen.value}</h2>
      {!r ? <p class="empty">It is not there at this moment.</p> : (
        <>
          <p>{r.cause === "" ? "It waits for nothing." : `It waits: ${causeWords(r.cause)}.`} {r.task !== "" && `Task ${r.task}.`} {goal !== "" && `To row, column ${goal}.`}</p>
          {chain.length > 1 && <p>{chain.map((id, i) => <span key={id}>{i > 0 && " waits for "}{id === chosen.value ? <b>{id}</b> : robotButton(id)}</span>)}{graph.ringed.has(chain[chain.length - 1]!) ? ", in a ring" : ", the root"}.</p>}
        </>
      )}
    </section>
  );
}

function Waiting({ robots }: { robots: readonly FilmRobot[] }) {
  const all = robots.filter((r) => r.cause !== "");
  return (
    <>
      <h3>Wait now: {all.length}</h3>
      <ul class="plain" aria-label="Robots that wait">
        {all.slice(0, MOST_WAITING).map((r) => <li key={r.id}>{robotButton(r.id)}{r.waits_for !== "" && <> for {robotButton(r.waits_for)}</>}: {causeWords(r.cause)}</li>)}
        {all.length > MOST_WAITING && <li class="hint">and {all.length - MOST_WAITING} more</li>}
      </ul>
    </>
  );
}

interface Event {
  frame: number;
  t: number;
  text: string;
  key: string;
}

/** All that happened; a press leads there. */
function Events({ film: f, frame }: { film: Film; frame: number }) {
  const items = useMemo(() => eventsOf(f).map((e, i) => ({ ...e, key: String(i) })), [f]);
  const now = useMemo(() => items.findLast((e) => e.frame <= frame)?.key ?? null, [items, frame]);
  const columns: Column<Event>[] = [
    { name: "At", width: "80px", cell: (e) => at(e.t) },
    { name: "What", width: "1fr", cell: (e) => <span title={e.text}>{e.text}</span> },
  ];
  const choose = (e: Event): void => {
    running.value = false;
    seek(e.t);
  };
  return <section class="happened" aria-label="What happened"><Table label="Events" columns={columns} items={items} keyOf={(e) => e.key} chosen={now} choose={choose} empty="Nothing is recorded to have happened." /></section>;
}
