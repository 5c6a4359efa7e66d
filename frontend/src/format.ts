import type { Run, Stat } from "./api/client";

const count = new Intl.NumberFormat("en");

export const integer = (value: number) => count.format(value);

export const percent = (value: number | null | undefined, digits = 2) =>
  value == null ? "–" : `${value.toFixed(digits)} %`;

export function bytes(value: number | null | undefined): string {
  if (value == null) return "–";
  if (value < 2 ** 20) return `${Math.round(value / 2 ** 10)} KiB`;
  return value < 2 ** 30 ? `${Math.round(value / 2 ** 20)} MiB` : `${(value / 2 ** 30).toFixed(1)} GiB`;
}

export const plural = (number: number, noun: string) => `${integer(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Mean and sample SD over seeds; a single value has no spread. */
export function meanAndSd(stat: Stat | null | undefined, digits = 2, signed = false): string {
  if (!stat) return "–";
  const sign = signed && stat.mean >= 0 ? "+" : "";
  const spread = stat.sd == null ? "" : ` ± ${stat.sd.toFixed(digits)}`;
  return `${sign}${stat.mean.toFixed(digits)}${spread}`.replaceAll("-", "−");
}

export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return "–";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  const hours = Math.floor(s / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const timeOfDay = (time: Date) =>
  time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** Today as a time, otherwise as a date with time. */
export function moment(iso: string): string {
  const time = new Date(iso);
  if (time.toDateString() === new Date().toDateString()) return timeOfDay(time);
  return `${time.toLocaleDateString([], { month: "short", day: "numeric" })}, ${timeOfDay(time)}`;
}

/** A date only if it is not today's, then the time to the second. */
export function momentWithSeconds(iso: string): string {
  const time = new Date(iso);
  const clock = time.toLocaleTimeString([], { hourCycle: "h23" });
  if (time.toDateString() === new Date().toDateString()) return clock;
  return `${time.toLocaleDateString([], { month: "short", day: "numeric" })}, ${clock}`;
}

/** Finished share of the epoch that is being trained, 0 to 1. */
export const withinEpoch = (run: Run) => (run.steps ? run.step / run.steps : 0);

/** Whether nothing is trained and given weights are evaluated. */
export const isEvaluation = (run: Run) => run.spec.epochs === 0;

/** Whether anything was measured yet. */
/** On what a run is validated. */
export const validatedOn = ({ spec }: Run) =>
  spec.val_share
    ? `on ${+(100 * spec.val_share).toFixed(2)} % of the training set, held out`
    : spec.image_folder
      ? "on the folder's images beside train"
      : "on the official test set";

export const isMeasured = (run: Run) => run.final_top1 != null;

export const runProgress = (run: Run) =>
  isEvaluation(run) ? Number(isMeasured(run)) : (run.epoch + withinEpoch(run)) / run.spec.epochs;
