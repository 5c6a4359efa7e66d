import { Combobox, createTheme, Notification, Paper, Popover, Select, Table, Tooltip } from "@mantine/core";

export const theme = createTheme({
  primaryColor: "indigo",
  primaryShade: { light: 7, dark: 8 },
  autoContrast: true,
  defaultRadius: "md",
  respectReducedMotion: true,
  cursorType: "pointer",
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
  headings: {
    fontWeight: "650",
    sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.0625rem" }, h3: { fontSize: "0.9375rem" } },
  },
  components: {
    // Lists of suggestions are popovers too: on a busy machine they would close late, and take the focus from the next field.
    Combobox: Combobox.extend({ defaultProps: { returnFocus: false } }),
    Notification: Notification.extend({ defaultProps: { closeButtonProps: { "aria-label": "Dismiss" } } }),
    Paper: Paper.extend({ defaultProps: { withBorder: true } }),
    Popover: Popover.extend({
      // What is typed into one stays in sight, though the page below it moves away, as when data arrive.
      defaultProps: { position: "bottom-end", shadow: "md", withArrow: true, returnFocus: true, hideDetached: false },
    }),
    Select: Select.extend({ defaultProps: { checkIconPosition: "right" } }),
    Table: Table.extend({ defaultProps: { tabularNums: true, verticalSpacing: 6 } }),
    Tooltip: Tooltip.extend({
      defaultProps: { multiline: true, maw: 320, withArrow: true, events: { hover: true, focus: true, touch: true } },
    }),
  },
});
