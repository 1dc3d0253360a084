import { useEffect, useState } from "preact/hooks";

const SURE_MS = 4_000;

/** A button for what cannot be taken back: the first press asks, the second within four seconds does it. */
export function SureButton({ word, label, kind = "", act }: { word: string; label?: string; kind?: string; act: () => void }) {
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => setAsked(false), SURE_MS);
    return () => clearTimeout(timer);
  }, [asked]);
  return (
    <button
      class={`${kind} ${asked ? "sure" : ""}`}
      aria-label={asked ? `Sure? ${label ?? word}` : (label ?? word)}
      onClick={(e) => {
        e.stopPropagation();
        if (asked) act();
        setAsked(!asked);
      }}
      onBlur={() => setAsked(false)}
    >
      {asked ? "Sure?" : word}
    </button>
  );
}
