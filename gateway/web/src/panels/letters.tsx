import { useEffect, useState } from "preact/hooks";
import { ApiError, type Schemas } from "starling-client";
import { attempt, faultText } from "../doing.js";
import { useWatch } from "../page.js";
import { api, session } from "../session.js";
import { SureButton } from "./sure.js";
import { Table, type Column } from "./table.js";

type Letter = Schemas["Letter"];

const PAGE = 100;
const EVERY_MS = 5_000;

/** Facts that could not be sent to Kafka, for administrators: what waits behind each goes on once somebody has decided. */
export function DeadLetters() {
  const { watch, clock } = useWatch();
  const [all, setAll] = useState(false);
  const [items, setItems] = useState<Letter[] | null>(null);
  const [more, setMore] = useState(false);
  const [fault, setFault] = useState("");
  const [chosen, setChosen] = useState<Letter | null>(null);
  const tenant = session.value!.tenant;
  const read = async (signal?: AbortSignal): Promise<void> => {
    try {
      const page = await api.get("/api/v1/dead-letters", { query: { limit: PAGE, ...(all ? {} : { state: "open" as const }) }, ...(signal ? { signal } : {}) });
      setItems(page.items);
      setMore(page.next_cursor !== null);
      setFault("");
    } catch (e) {
      if (signal?.aborted) return;
      if (!(e instanceof ApiError)) throw e;
      setFault(faultText(e));
    }
  };
  useEffect(() => {
    const left = new AbortController();
    void read(left.signal);
    const timer = setInterval(() => void read(left.signal), EVERY_MS);
    return () => {
      clearInterval(timer);
      left.abort();
    };
  }, [all, tenant]);
  const decide = async (l: Letter, verb: "retry" | "discard"): Promise<void> => {
    const path = { event_id: l.event_id };
    await attempt(verb === "retry" ? "Sent again" : "Left out", () =>
      verb === "retry" ? api.post("/api/v1/dead-letters/{event_id}/retry", { path }) : api.post("/api/v1/dead-letters/{event_id}/discard", { path }),
    );
    setChosen(null);
    await read();
  };
  const columns: Column<Letter>[] = [
    { name: "Since", width: "150px", cell: (l) => <time dateTime={l.dead_at}>{clock.at(Date.parse(l.dead_at), watch.now.value)}</time> },
    { name: "Topic", width: "minmax(110px, 1fr)", cell: (l) => l.topic },
    { name: "Fact", width: "minmax(110px, 1fr)", cell: (l) => l.type || "unreadable" },
    { name: "Of", width: "minmax(140px, 1.4fr)", from: 800, cell: (l) => `${l.aggregate_type} ${l.aggregate_id}` },
    { name: "Waiting", width: "80px", cell: (l) => l.waiting },
    { name: "State", width: "100px", cell: (l) => l.state },
    { name: "Why", width: "minmax(160px, 2fr)", cell: (l) => l.cause },
  ];
  return (
    <>
      <div class="filters">
        <label>
          <input type="checkbox" checked={all} onInput={(e) => setAll(e.currentTarget.checked)} /> dealt with too
        </label>
        <span class="hint" role="status">
          {fault !== "" ? <span class="fault">{fault}</span> : `${items?.length ?? 0}${more ? " of more" : ""} shown`}
        </span>
        <span class="spring" />
        {chosen?.state === "open" && (
          <>
            <button onClick={() => void decide(chosen, "retry")}>Send again</button>
            <SureButton word="Leave out" act={() => void decide(chosen, "discard")} />
          </>
        )}
      </div>
      <Table
        label="Dead letters"
        columns={columns}
        items={items ?? []}
        keyOf={(l) => l.event_id}
        chosen={chosen?.event_id ?? null}
        choose={(l) => setChosen(l.event_id === chosen?.event_id ? null : l)}
        empty={items === null ? "Reading …" : "Everything has been sent."}
      />
    </>
  );
}
