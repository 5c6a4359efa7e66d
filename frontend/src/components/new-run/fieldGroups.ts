import type { SpecField } from "../../api/spec";

type Group = { title: string; usual: string[]; rare: string[] };

/** Which fields belong together, and which of them are rarely changed. */
const GROUPS: Group[] = [
  {
    title: "Data",
    usual: ["dataset", "augmentation"],
    rare: [
      ...["image_folder", "val_share", "class_weights", "scale", "random_erasing"],
      ...["mixup", "cutmix", "mixup_switch_prob", "mixup_off_epoch"],
    ],
  },
  {
    title: "Model",
    usual: ["model", "pooling"],
    rare: [
      "depth",
      "heads",
      "embed_dim",
      "mlp_ratio",
      "kernel_size",
      "conv_layers",
      "positional_embedding",
      "image_size",
      "pretrained",
      "word_vectors",
      "dropout",
      "attention_dropout",
      "stochastic_depth",
    ],
  },
  {
    title: "Recipe",
    usual: ["recipe", "epochs", "lr", "batch_size"],
    rare: [
      ...["weight_decay", "decayed", "schedule", "warmup_epochs", "warmup_lr", "min_lr", "cooldown_epochs"],
      ...["clip_grad", "ema_decay", "label_smoothing"],
    ],
  },
];
/** Has all others too, so that a new field of the spec is in the form without a change here. */
const LAST: Group = { title: "Execution", usual: ["seed", "precision", "compile"], rare: [] };

export type FieldGroup = { title: string; usual: SpecField[]; rare: SpecField[] };

export function groupsOf(fields: SpecField[]): FieldGroup[] {
  const named = (names: string[]) => names.flatMap((name) => fields.find((field) => field.name === name) ?? []);
  const groups = GROUPS.map(({ title, usual, rare }) => ({ title, usual: named(usual), rare: named(rare) }));
  const placed = new Set(GROUPS.flatMap(({ usual, rare }) => [...usual, ...rare]));
  const first = named(LAST.usual);
  const others = fields.filter((field) => !placed.has(field.name) && !first.includes(field));
  return [...groups, { title: LAST.title, usual: [...first, ...others], rare: [] }];
}
