import asyncio

from awaken import Awaken

app = Awaken("sqlite:///quickstart.db")


async def support(ctx):
    yield f"You wrote: {await ctx.input()}. "
    yield "I will find your order."


app.agent("support", support)


async def main():
    async with app:
        run = await app.run("thread-1", "My order never came", agent="support")
        print(run.output)


if __name__ == "__main__":
    asyncio.run(main())
