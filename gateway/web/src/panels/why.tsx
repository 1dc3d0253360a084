import { useWatch } from "../page.js";
import { selection } from "../route.js";
import { since, span } from "../time.js";
import { causeWords, short } from "../words.js";
import { RemedyButton } from "./remedy.js";
import { showRobot } from "./stage.js";

/** Why the selection waits: from what is seen to what is behind it, each with what would help. */
export function WhyChain() {
  const { watch } = useWatch();
  const why = watch.why.value;
  const now = watch.now.value;
  if (!why) return null;
  if (!why.waiting || why.chain.length === 0) return <p class="calm" data-testid="why">✓ It waits for nothing.</p>;
  const name = (type: string, id: string): string => {
    if (type === "zone") return watch.zones.value.find((z) => z.zone_id === id)?.name ?? short(id);
    if (type !== "robot") return `${type} ${short(id)}`;
    const row = watch.table?.row(id) ?? -1;
    return row < 0 ? `robot ${short(id)}` : watch.table!.codes[row]!;
  };
  return (
    <ol class="why" data-testid="why" aria-label="Why it waits">
      {why.chain.map((c, i) => (
        <li key={i}>
          <span class="cause">{causeWords(c.cause)}</span>
          {c.text !== "" && c.text !== causeWords(c.cause) && <span class="told">{c.text}</span>}
          {(c.object.type === "robot" || c.object.type === "task" || c.object.type === "zone") && c.object.id !== selection.value?.id ? (
            <button
              class="link"
              onClick={() => {
                selection.value = { type: c.object.type as "robot" | "task" | "zone", id: c.object.id };
                if (c.object.type === "robot") void showRobot(watch, c.object.id);
              }}
            >
              {name(c.object.type, c.object.id)}
            </button>
          ) : c.object.id !== selection.value?.id ? <span>{c.object.type} {c.object.id.length > 20 ? short(c.object.id) : c.object.id}</span> : null}
          {c.since !== null && <small>for {since(c.since, now)}</small>}
          {c.solves_itself && <small>ends by itself{c.expected_s !== null && `, in about ${span(1000 * c.expected_s)}`}</small>}
          {i === why.chain.length - 1 && why.chain.length > 1 && <small class="root">the root, says the {c.level}</small>}
          {c.remedy && <RemedyButton of={c.remedy} />}
        </li>
      ))}
    </ol>
  );
}
