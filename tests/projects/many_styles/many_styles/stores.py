"""I/O managers and resources, old and new."""

import json
from pathlib import Path

import pandas as pd
from dagster import ConfigurableIOManager, Field, InitResourceContext, InputContext, OutputContext, resource


class JsonStore(ConfigurableIOManager):
    """Keeps frames as JSON in a folder."""

    folder: str

    def _path(self, context: InputContext | OutputContext) -> Path:
        parts = list(context.asset_key.path)
        if context.has_asset_partitions:
            parts.append(context.asset_partition_key)
        return Path(self.folder).joinpath(*parts).with_suffix(".json")

    def handle_output(self, context: OutputContext, obj: pd.DataFrame) -> None:
        path = self._path(context)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(obj.to_json(orient="records"))

    def load_input(self, context: InputContext) -> pd.DataFrame:
        return pd.DataFrame(json.loads(self._path(context).read_text()))


class WeatherApi:
    """Answers like a service would: the same for the same day."""

    def __init__(self, offset: float) -> None:
        self.offset = offset

    def day(self, city: str, day: str, count: int) -> list[dict]:
        start = int(day[-2:]) + len(city)
        return [
            {"city": city, "day": day, "hour": hour, "celsius": start + hour / 2 + self.offset}
            for hour in range(count)
        ]


@resource(config_schema={"offset": Field(float, default_value=0.5)})
def weather_api(context: InitResourceContext) -> WeatherApi:
    return WeatherApi(context.resource_config["offset"])


@resource
def unit_names(_):
    return {"celsius": "C", "fahrenheit": "F"}
