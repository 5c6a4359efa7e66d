import { Text } from "@mantine/core";
import { useEffect, useRef } from "react";

import type { Lens, Look } from "../../api/client";

export const IMAGE_PIXELS = 56;
export const LARGE_PIXELS = 224;

/** A run and its look at the epoch that is shown. */
export type Shown = { run: Lens["runs"][number]; look: Look | undefined };

/** An image or a text of the test set, and which one it is in each look. */
export type Sample = Lens["images"][string][number] & { number: number };

type Props = {
  url: string;
  look: Look;
  number: number;
  classNames: readonly string[];
  label?: number;
  /** The side. */
  pixels?: number;
};

/** An image with the shares of its tokens laid over it, and the prediction, marked if it is not the label. */
export function Seen({ url, look, number, classNames, label, pixels = IMAGE_PIXELS }: Props) {
  const predicted = look.predicted[number]!;
  const wrong = label !== undefined && predicted !== label;
  return (
    <>
      <div style={{ position: "relative", width: pixels, height: pixels }}>
        <img src={url} width={pixels} height={pixels} alt="" />
        <Shares shares={look.shares[number]!} />
      </div>
      <Text
        fz={pixels === IMAGE_PIXELS ? "0.6875rem" : "sm"}
        ta="center"
        w={pixels}
        lineClamp={3}
        c={wrong ? "var(--bad)" : undefined}
        fw={wrong ? 600 : 400}
      >
        {wrong ? "✗ " : ""}
        {classNames[predicted] ?? predicted} · {Math.round(100 * look.confidence[number]!)}&nbsp;%
      </Text>
    </>
  );
}

/** The shares over the square token grid, one pixel each: the more a token counts, the more it glows. */
function Shares({ shares }: { shares: number[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const side = Math.round(Math.sqrt(shares.length));
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const most = Math.max(...shares);
    const pixels = context.createImageData(side, side);
    shares.forEach((share, token) => {
      const strength = share / most;
      pixels.data.set([255, 170, 0, 200 * strength], 4 * token);
    });
    context.putImageData(pixels, 0, 0);
  }, [shares, side]);
  return (
    <canvas
      ref={canvas}
      width={side}
      height={side}
      aria-hidden
      style={{ position: "absolute", inset: 0, width: "100%", height: "100%", imageRendering: "pixelated" }}
    />
  );
}
