import { Button, Text } from "@mantine/core";
import { useState } from "react";

import type { Look } from "../../api/client";
import type { Sample, Shown } from "./Seen";

const AT_FIRST = 6;

type Props = {
  texts: Sample[];
  shown: Shown[];
  classNames: readonly string[];
  name: (one: Shown) => React.ReactNode;
};

/** The same test texts for each variant: the more a word counts, the more it is marked. */
export function TextsSeen({ texts, shown, classNames, name }: Props) {
  const [all, setAll] = useState(false);
  return (
    <>
      {(all ? texts : texts.slice(0, AT_FIRST)).map(({ number, label, words }) => (
        <section key={number} aria-label={`Text ${number + 1}`}>
          <Text size="sm" fw={500} mb={4}>
            {classNames[label] ?? label}: “{words.join(" ")}”
          </Text>
          <ul className="text-rows">
            {shown.map(({ run, look }) => (
              <li key={run.run_id}>
                <div>{name({ run, look })}</div>
                {look && <Words words={words} shares={look.shares[number]!} />}
                {look && <Answer look={look} number={number} label={label} classNames={classNames} />}
              </li>
            ))}
          </ul>
        </section>
      ))}
      {!all && texts.length > AT_FIRST && (
        <Button variant="default" size="xs" onClick={() => setAll(true)}>
          Show all {texts.length} texts
        </Button>
      )}
    </>
  );
}

function Words({ words, shares }: { words: readonly string[]; shares: readonly number[] }) {
  const most = Math.max(...shares);
  return (
    <Text size="sm" component="p" className="words">
      {words.map((word, place) => {
        const share = shares[place] ?? 0;
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: a word may stand in a text twice, and none changes its place
          <span key={place} title={`${(100 * share).toFixed(1)} %`} style={{ background: marked(share / most) }}>
            {word}
          </span>
        );
      })}
    </Text>
  );
}

/** Text on it has contrast enough in either colour scheme. */
const marked = (strength: number) =>
  `light-dark(rgb(255 170 0 / ${(0.8 * strength).toFixed(2)}), rgb(255 170 0 / ${(0.3 * strength).toFixed(2)}))`;

type AnswerProps = { look: Look; number: number; label: number; classNames: readonly string[] };

function Answer({ look, number, label, classNames }: AnswerProps) {
  const predicted = look.predicted[number]!;
  const wrong = predicted !== label;
  return (
    <Text size="sm" c={wrong ? "var(--bad)" : undefined} fw={wrong ? 600 : 400}>
      {wrong ? "✗ " : ""}
      {classNames[predicted] ?? predicted} · {Math.round(100 * look.confidence[number]!)} %
    </Text>
  );
}
