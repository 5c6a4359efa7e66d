import { useState } from "react";

/** What is asked for only by whoever opens it. */
export function Folded({ summary, children }: { summary: React.ReactNode; children: React.ReactNode }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="more" onToggle={({ currentTarget: { open } }) => setOpen(open)}>
      <summary>{summary}</summary>
      {isOpen && children}
    </details>
  );
}
