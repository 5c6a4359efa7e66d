import { Button, Center, Code, Paper, PasswordInput, Text, TextInput, Title } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { author, setAuthor } from "../api/author";
import { api, body } from "../api/client";
import { LIMITS } from "../api/limits";
import { setSession } from "../api/session";

/** Takes the place of any page until the board's token was given; the address stays. */
export function LoginPage() {
  const [token, setToken] = useState("");
  const [name, setName] = useState(author);
  const queries = useQueryClient();
  const login = useMutation({
    mutationFn: () => body(api.POST("/session", { body: { token: token.trim() } })),
    onSuccess: (session) => setSession(queries, session),
  });
  return (
    <Center component="main" mih="80vh" px="md">
      <title>Log in · CCT Board</title>
      <Paper p="lg" w={380} maw="100%">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            setAuthor(name);
            login.mutate();
          }}
        >
          <Title order={1} mb={4}>
            Log in to CCT Board
          </Title>
          <Text size="sm" c="dimmed" mb="md">
            The token is in the board’s folder of secrets; <Code>cctboard secrets</Code> printed it when it was made.
          </Text>
          <PasswordInput
            label="Token"
            autoComplete="current-password"
            autoFocus
            required
            withAsterisk={false}
            value={token}
            onChange={(event) => setToken(event.currentTarget.value)}
            error={login.error?.message}
            visibilityToggleButtonProps={{ "aria-label": "Show the token" }}
          />
          <TextInput
            label="Your name"
            description="Shown with what you queue; may stay empty"
            autoComplete="name"
            maxLength={LIMITS.author_length}
            mt="sm"
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <Button type="submit" fullWidth mt="md" loading={login.isPending}>
            Log in
          </Button>
        </form>
      </Paper>
    </Center>
  );
}
