"""`gateway lanes`: orders whose deliveries are parked, and what to do with them."""

import typer

app = typer.Typer()
