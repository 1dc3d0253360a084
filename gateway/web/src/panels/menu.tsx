import { useRef } from "preact/hooks";

/** What opens below a button, and closes when somebody chooses (`closing`), goes elsewhere or presses Esc. */
export function Menu(o: { name: string; label: string; title?: string; sign: string; children: preact.ComponentChildren; closing?: boolean }) {
  const box = useRef<HTMLDetailsElement>(null);
  const close = (): void => {
    if (box.current) box.current.open = false;
  };
  return (
    <details
      ref={box} class={o.name}
      onFocusOut={(e) => e.relatedTarget !== null && !e.currentTarget.contains(e.relatedTarget as Node) && close()}
      onClick={(e) => o.closing && (e.target as Element).closest("button, a") && close()}
      onKeyDown={(e) => {
        if (e.key !== "Escape" || !box.current?.open) return;
        close();
        box.current.querySelector("summary")?.focus();
        e.stopPropagation();
      }}
    >
      <summary aria-label={o.label} title={o.title}>{o.sign}</summary>
      {o.children}
    </details>
  );
}
