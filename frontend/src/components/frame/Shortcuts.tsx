import { Kbd, Modal, Switch, Table } from "@mantine/core";
import { useDisclosure, useLocalStorage } from "@mantine/hooks";
import { useEffect } from "react";
import { useNavigate } from "react-router";

const NEXT_KEY_WITHIN_MS = 1_500;

const HELP: [keys: string[], what: string][] = [
  [["g", "b"], "Go to the board"],
  [["g", "p"], "Go to the poolings"],
  [["g", "w"], "Go to the workers"],
  [["n"], "New run"],
  [["/"], "Search"],
  [["?"], "This help"],
  [["Esc"], "Close, or leave a field"],
];

/** Listens to the keys of `HELP` outside of fields and dialogs; returns the help sheet and what opens it. */
export function useShortcuts() {
  const [opened, sheet] = useDisclosure();
  // Users of speech input must be able to turn single keys off (WCAG 2.1.4).
  const [on, setOn] = useLocalStorage({ key: "shortcuts", defaultValue: true, getInitialValueInEffect: false });
  const navigate = useNavigate();
  const { open } = sheet;

  useEffect(() => {
    let went = 0;

    function search() {
      const field = document.querySelector<HTMLInputElement>("main input[type=search]");
      if (field) field.focus();
      else void navigate("/", { state: { search: true } });
    }

    function press(event: KeyboardEvent) {
      const target = event.target as HTMLElement;
      const inField = target.matches("input:not([type=checkbox]), textarea, select");
      if (event.key === "Escape" && inField) target.blur();
      if (!on || inField || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (target.closest("[role=dialog], [role=menu]")) return;
      const afterG = event.timeStamp - went < NEXT_KEY_WITHIN_MS;
      went = event.key === "g" ? event.timeStamp : 0;
      const action = {
        b: afterG && (() => void navigate("/")),
        p: afterG && (() => void navigate("/board/poolings")),
        w: afterG && (() => void navigate("/board/workers")),
        n: () => void navigate("/board/new"),
        "/": search,
        "?": open,
      }[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [on, navigate, open]);

  return {
    open,
    sheet: (
      <Modal
        opened={opened}
        onClose={sheet.close}
        title="Keyboard shortcuts"
        closeButtonProps={{ "aria-label": "Close" }}
      >
        <Table fz="sm" mb="md">
          <Table.Tbody>
            {HELP.map(([keys, what]) => (
              <Table.Tr key={what}>
                <Table.Td w={90}>
                  {keys.map((key) => (
                    <Kbd key={key} mr={4}>
                      {key}
                    </Kbd>
                  ))}
                </Table.Td>
                <Table.Td>{what}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
        <Switch label="Use shortcuts" checked={on} onChange={(event) => setOn(event.currentTarget.checked)} />
      </Modal>
    ),
  };
}
