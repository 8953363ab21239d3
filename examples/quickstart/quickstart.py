import asyncio

from awaken import Awaken

app = Awaken("sqlite:///quickstart.db")


async def support(ctx):
    yield f"You wrote: {await ctx.input()}. "
    yield "I will find your order."


async def main():
    app.agent("support", support)
    async with app:
        run = await app.submit("thread-1", "My order never came", agent="support")
        async for event in run.events():
            print(event.kind)


asyncio.run(main())
