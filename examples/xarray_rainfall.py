"""
Rain on a map with named axes
=============================

Rain on a map, with names for its axes: smoothed over latitude and longitude, and over time, in memory and in chunks.

::

    pip install "convpp[dask]" xarray
    python examples/xarray_rainfall.py

``xarray.apply_ufunc`` puts the axes that a kernel has behind the others, and gives the result its names and coordinates
back.  In memory it calls ``convpp.convolve``; on chunks ``convpp.dask.convolve`` (``dask="allowed"``), which reads
halos from the chunks around.  Where no chunk ends along the convolved axes, ``dask="parallelized"`` does it with the
function for arrays in memory.
"""

import numpy as np
import xarray as xr

import convpp
import convpp.dask


def convolve(array: xr.DataArray, kernel: xr.DataArray, **options: object) -> xr.DataArray:
    """Along the dimensions of the kernel, whichever they are in the array, in chunks or not."""
    dims = list(kernel.dims)
    return xr.apply_ufunc(
        convpp.convolve if array.chunks is None else convpp.dask.convolve,
        array,
        input_core_dims=[dims],
        output_core_dims=[dims],
        dask="allowed",
        keep_attrs=True,
        kwargs={"kernel": kernel.values, "axes": tuple(range(-len(dims), 0)), "mode": "same", **options},
    ).transpose(*array.dims)


def rainfall() -> xr.DataArray:
    """Sixty days of rain, that fell in spots and moved east; where a gauge failed, there is NaN."""
    rng = np.random.default_rng(0)
    days, lats, lons = np.arange(60), np.linspace(-30, 30, 61), np.arange(0.0, 360, 3)
    rain = np.zeros((60, 61, 120))
    for day, lat, lon in zip(
        rng.integers(0, 60, 300), rng.integers(0, 61, 300), rng.integers(0, 120, 300), strict=True
    ):
        for step in range(min(3, 60 - day)):
            rain[day + step, lat, (lon + step) % 120] += 10.0 / (step + 1)
    rain[rng.random(rain.shape) < 0.01] = np.nan
    coords = {"day": days, "lat": lats, "lon": lons}
    return xr.DataArray(rain, coords, ("day", "lat", "lon"), "rain", {"units": "mm"})


def main() -> None:
    """Smooth over space and over time, both ways, and compare."""
    rain = rainfall()
    chunked = rain.chunk({"day": 25, "lat": 20, "lon": 50})

    around = xr.DataArray(convpp.gaussian(2.0, ndim=2), dims=("lat", "lon"))
    # The map ends at its latitudes, and goes round along its longitudes; what is missing is left out of the mean.
    space = {"boundary": ("replicate", "circular"), "nan": "ignore", "min_weight": 0.5}
    smooth, lazy = convolve(rain, around, **space), convolve(chunked, around, **space)
    assert lazy.chunks == chunked.chunks
    xr.testing.assert_allclose(lazy.compute(), smooth, rtol=1e-12)
    wettest = smooth.mean("day").argmax(("lat", "lon"))
    place = smooth.isel(lat=wettest["lat"], lon=wettest["lon"])
    print(f"most rain at latitude {float(place.lat):.0f}, longitude {float(place.lon):.0f}")

    week = xr.DataArray(np.full(7, 1 / 7), dims=("day",))
    by_week = convolve(chunked, week, nan="ignore", boundary="replicate")
    assert by_week.dims == rain.dims
    assert by_week.attrs == rain.attrs

    whole_days = rain.chunk({"day": -1, "lat": 20, "lon": 50})  # no chunk ends along the convolved axis
    again = xr.apply_ufunc(
        convpp.convolve,
        whole_days,
        input_core_dims=[["day"]],
        output_core_dims=[["day"]],
        dask="parallelized",
        output_dtypes=[rain.dtype],
        kwargs={"kernel": week.values, "mode": "same", "nan": "ignore", "boundary": "replicate"},
    )
    xr.testing.assert_allclose(by_week.compute(), again.transpose(*rain.dims).compute(), rtol=1e-12)
    print("the same in chunks as in memory, with its dimensions and coordinates")


if __name__ == "__main__":
    main()
