import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { expired, mayOperate } from "../session.js";
import { layers, selection, tab } from "../route.js";
import { begin, draft } from "../draft.js";
import { Attention, nextAttention } from "./attention.js";
import { Banner } from "./banner.js";
import { Drawer } from "./drawer.js";
import { Help, helpShown, letters } from "./help.js";
import { Inspector } from "./inspector.js";
import { Stage, stage } from "./stage.js";
import { TopBar } from "./topbar.js";
import { focusSearch } from "./search.js";

/** On narrow screens: which of the side columns lies over the map. */
export const column = signal<"attention" | null>(null);

/** Fields that take no letters: who has ticked a box goes on with the keys. */
const LETTERLESS: readonly string[] = ["checkbox", "radio"];

function typing(e: KeyboardEvent): boolean {
  const at = e.target as HTMLElement;
  if (at instanceof HTMLInputElement && LETTERLESS.includes(at.type)) return false;
  return at.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(at.tagName);
}

/** Keys that work anywhere but where somebody types. `panels/help.tsx` lists them. */
function shortcut(e: KeyboardEvent): boolean {
  if (e.ctrlKey || e.metaKey || e.altKey || expired.value || document.querySelector("dialog[open]")) return false;
  if (e.key === "Escape") {
    const field = e.target as HTMLInputElement;
    if (typing(e) && field.type === "search" && field.value !== "") return false; // the field clears itself
    if (draft.value) draft.value = null;
    else selection.value = null;
    return true;
  }
  if (typing(e) || !letters.value) return false;
  switch (e.key) {
    case "/":
      focusSearch();
      return true;
    case "n":
      if (mayOperate.value && !draft.value) begin();
      return mayOperate.value;
    case "a":
      return nextAttention();
    case "f":
      stage.value?.fit();
      return true;
    case "h":
      layers.value = { ...layers.value, jams: !layers.value.jams };
      return true;
    case "?":
      helpShown.value = true;
      return true;
    case "1":
    case "2":
    case "3":
    case "4":
    case "5":
    case "6": {
      const chosen = (["tasks", "robots", "zones", "charts", "hotspots", "alerts"] as const)[Number(e.key) - 1]!;
      tab.value = tab.value === chosen ? null : chosen;
      return true;
    }
    default:
      return false;
  }
}

/** One warehouse: what is wrong, the floor, what is selected, the tables. */
export function Desk() {
  useEffect(() => {
    const onKey = (e: KeyboardEvent): void => {
      if (shortcut(e)) e.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const shown = selection.value !== null || draft.value !== null;
  return (
    <div class={`desk ${shown ? "with-side" : ""} ${column.value === "attention" ? "with-attention" : ""}`}>
      <a class="skip" href="#side">Skip to the details</a>
      <TopBar />
      <Banner />
      <Attention />
      <Stage />
      <Inspector />
      <Drawer />
      <Help />
    </div>
  );
}
