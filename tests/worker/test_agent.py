"""The MCP server, asked by the package's own client: from a file to a verdict."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import TextContent

from tests.cct.test_own_poolings import SHARP
from tests.worker.conftest import QUICK

READING = {"list_choices", "list_poolings", "read_pooling", "preview", "list_experiments", "progress", "comparison"}
WRITING = {"check_pooling", "submit", "cancel"}


def served(board: httpx.Client, *options: str) -> StdioServerParameters:
    environment = os.environ | {"CCTBOARD_URL": str(board.base_url)}
    return StdioServerParameters(command=sys.executable, args=["-m", "app.cli", "mcp", *options], env=environment)


@pytest.mark.timeout(480)
def test_an_agent_comes_from_a_file_to_a_verdict(board: httpx.Client, board_data: Path) -> None:
    async def work() -> None:
        async with Client(served(board, "--write")) as agent:

            async def ask(tool: str, **arguments: Any) -> Any:
                result = await agent.call_tool(tool, arguments)
                assert not result.is_error, result.content
                found = result.structured_content
                return found["result"] if found and found.keys() == {"result"} else found

            tools = {tool.name for tool in (await agent.list_tools()).tools}
            assert tools >= READING | WRITING
            assert "digits" in (await ask("list_choices"))["datasets"]
            folder = Path((await ask("list_poolings"))["folder"])
            assert folder == board_data / "poolings"
            folder.mkdir(exist_ok=True)
            (folder / "agents.py").write_text(SHARP.replace("sharp", "agents").replace("Sharp", "Agents"))
            name = (await ask("check_pooling", name="agents"))["name"]
            while not (await ask("read_pooling", name=name))["check"]["done"]:
                await asyncio.sleep(0.2)
            findings = (await ask("read_pooling", name=name))["check"]["findings"]
            assert {finding["outcome"] for finding in findings} == {"passed"}
            axes = {"pooling": ["seqpool", "agents"], "seed": [0, 1]}
            spec = QUICK | {"epochs": 1}
            assert (await ask("preview", spec=spec, axes=axes))["runs"] == 4
            experiment = (await ask("submit", name="By an agent", spec=spec, axes=axes))["id"]
            while (found := await ask("progress", experiment=experiment))["completed"] < 4:
                assert found["failed"] == 0
                await asyncio.sleep(0.2)
            compared = await ask("comparison", experiment=experiment)
            assert [row["variant"] for row in compared["variants"]] == ["seqpool", name]
            assert compared["variants"][1]["verdict"]
            run = found["each"][0]["id"]
            assert len(await ask("curve", run=run)) == 2
            refused = await agent.call_tool(
                "submit", {"name": "x", "spec": {"pooling": "gme"}, "axes": {"seed": [0, 1]}}
            )
            assert refused.is_error
            [content] = refused.content
            assert isinstance(content, TextContent)
            assert "did you mean gem" in content.text

    asyncio.run(work())


def test_without_being_allowed_to_it_only_reads(board: httpx.Client) -> None:
    async def work() -> None:
        async with Client(served(board)) as agent:
            tools = {tool.name for tool in (await agent.list_tools()).tools}
            assert tools >= READING
            assert not tools & WRITING

    asyncio.run(work())
