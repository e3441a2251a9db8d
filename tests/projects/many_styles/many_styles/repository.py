"""The repository, put together as it was before there were Definitions."""

from dagster import (
    AssetSelection,
    In,
    Nothing,
    ScheduleDefinition,
    define_asset_job,
    fs_io_manager,
    job,
    load_asset_checks_from_modules,
    load_assets_from_modules,
    op,
    repository,
    sensor,
    with_resources,
)

from many_styles import assets
from many_styles.stores import JsonStore, unit_names, weather_api


@op
def sweep():
    return None


@op(ins={"start": In(Nothing)})
def report(context):
    context.log.info("swept")


@job
def clean_up():
    report(start=sweep())


daily = define_asset_job("daily", selection=AssetSelection.assets("coldest"))


@sensor(job=daily)
def whenever(_):
    return None


@repository
def weather():
    return [
        *with_resources(
            load_assets_from_modules([assets]),
            {
                "raw_store": JsonStore(folder="raw_files"),
                "weather_api": weather_api.configured({"offset": 1.0}),
                "unit_names": unit_names,
                "io_manager": fs_io_manager,
            },
        ),
        *with_resources(load_asset_checks_from_modules([assets]), {"io_manager": fs_io_manager}),
        daily,
        clean_up,
        whenever,
        ScheduleDefinition(job=daily, cron_schedule="0 6 * * *"),
    ]
