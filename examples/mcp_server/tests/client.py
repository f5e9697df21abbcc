"""The official MCP client on a leash: starts a server on stdio, reads a line of JSON, and answers with a line of JSON.

`"list"` lists the tools, `{"tool": …, "arguments": …}` calls one.
"""

import asyncio
import json
import os
import sys

from mcp import Client, StdioServerParameters


async def main() -> None:
    async with Client(StdioServerParameters(command=sys.argv[1], env=dict(os.environ))) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            if asked == "list":
                answer = await client.list_tools()
            else:
                answer = await client.call_tool(asked["tool"], asked["arguments"])
            print(answer.model_dump_json(by_alias=True, exclude_none=True), flush=True)


asyncio.run(main())
