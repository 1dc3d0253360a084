import { useEffect, useState } from "preact/hooks";
import { ApiError, type Schemas } from "starling-client";
import { faultText, notify } from "../doing.js";
import { useWatch } from "../page.js";
import { api, calls, session } from "../session.js";
import { Table, type Column } from "./table.js";

type Entry = Schemas["Audit"];

const PAGE = 100;
const WAIT_MS = 400;

interface Wanted {
  actor: string;
  action: string;
  resource: string;
}

/** The filters that somebody filled in. */
function given(w: Wanted): Partial<Wanted> {
  const out: Partial<Wanted> = {};
  for (const name of ["actor", "action", "resource"] as const) if (w[name].trim() !== "") out[name] = w[name].trim();
  return out;
}

/** Who did what, the newest first, for administrators. */
export function AuditLog() {
  const { watch, clock } = useWatch();
  const [wanted, setWanted] = useState<Wanted>({ actor: "", action: "", resource: "" });
  const [items, setItems] = useState<Entry[] | null>(null);
  const [cursor, setCursor] = useState<string | null>(null);
  const [fault, setFault] = useState("");
  const [chosen, setChosen] = useState<Entry | null>(null);
  const tenant = session.value!.tenant;
  const read = async (from: string | null, signal?: AbortSignal): Promise<void> => {
    try {
      const page = await api.get("/api/v1/audit", { query: { limit: PAGE, ...given(wanted), ...(from === null ? {} : { cursor: from }) }, ...(signal ? { signal } : {}) });
      setItems((before) => [...(from === null ? [] : (before ?? [])), ...page.items]);
      setCursor(page.next_cursor);
      setFault("");
    } catch (e) {
      if (signal?.aborted) return;
      if (!(e instanceof ApiError)) throw e;
      setFault(faultText(e));
    }
  };
  useEffect(() => {
    const left = new AbortController();
    const timer = setTimeout(() => void read(null, left.signal), items === null ? 0 : WAIT_MS); // while somebody types
    return () => {
      clearTimeout(timer);
      left.abort();
    };
  }, [wanted, tenant]);
  const field = (name: keyof Wanted, label: string, example: string) => (
    <input type="search" aria-label={label} placeholder={example} value={wanted[name]} onInput={(e) => setWanted({ ...wanted, [name]: e.currentTarget.value })} />
  );
  const columns: Column<Entry>[] = [
    { name: "When", width: "150px", cell: (e) => <time dateTime={e.occurred_at}>{clock.at(Date.parse(e.occurred_at), watch.now.value)}</time> },
    { name: "Who", width: "minmax(120px, 1fr)", cell: (e) => e.subject || "nobody" },
    { name: "What", width: "minmax(120px, 1fr)", cell: (e) => e.action },
    { name: "On", width: "minmax(140px, 1.4fr)", cell: (e) => [e.resource_type, e.resource_id].filter((x) => x !== "").join(" ") },
    { name: "Answer", width: "90px", cell: (e) => e.status_code ?? "unknown" },
    { name: "From", width: "120px", from: 800, cell: (e) => e.client_ip },
    { name: "Request", width: "minmax(100px, 1fr)", from: 1000, cell: (e) => e.request_id },
  ];
  return (
    <>
      <div class="filters">
        {field("actor", "Actor", "user or subject")}
        {field("action", "Action", "action, task.create say")}
        {field("resource", "Resource", "robot, or robot:<id>")}
        <span class="hint" role="status">{fault !== "" ? <span class="fault">{fault}</span> : `${items?.length ?? 0} shown`}</span>
        <span class="spring" />
        <button onClick={() => void read(null)}>Read again</button>
        {cursor !== null && <button onClick={() => void read(cursor)}>More</button>}
        <button onClick={() => void download(wanted)}>Export CSV</button>
      </div>
      {chosen && (
        <p class="audit-entry">
          <b>{chosen.method} {chosen.path}</b> · {chosen.duration_ms.toFixed(1)} ms · {chosen.user_agent} {Object.keys(chosen.details).length > 0 && <code>{JSON.stringify(chosen.details)}</code>}
        </p>
      )}
      <Table label="Audit log" columns={columns} items={items ?? []} keyOf={(e) => e.audit_id} chosen={chosen?.audit_id ?? null} choose={(e) => setChosen(e === chosen ? null : e)} empty={items === null ? "Reading …" : "Nothing matches."} />
    </>
  );
}

// The token goes in a header, so that a plain link will not do.
async function download(wanted: Wanted): Promise<void> {
  const query = new URLSearchParams({ format: "csv", ...given(wanted) });
  try {
    const answer = await calls.fetch(`/api/v1/audit/export?${query.toString()}`, { headers: { Authorization: `Bearer ${calls.token()}` } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const url = URL.createObjectURL(await answer.blob());
    const link = document.createElement("a");
    link.href = url;
    link.download = "audit.csv";
    link.click();
    URL.revokeObjectURL(url);
  } catch (e) {
    notify("failed", `Export: ${e instanceof Error ? e.message : "failed"}`);
  }
}
