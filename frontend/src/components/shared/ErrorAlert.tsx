import { Alert } from "@mantine/core";

/** What could not be done and what the server said about it. */
export function ErrorAlert({ title, message }: { title: string; message: string }) {
  return (
    <Alert variant="default" style={{ "--alert-color": "var(--bad)" }} title={title} mb="sm">
      <span className="note">{message}</span>
    </Alert>
  );
}
